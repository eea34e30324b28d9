// Draws how each dynamic layer mixed its kernels: a row a layer, and the chosen one in numbers.

const COLOURS = ["#4a7fb5", "#d98a3d", "#5a9e6f", "#b8567a", "#8a78b8", "#9a8a4a", "#4aa3a3", "#888888"];
const EVEN = 0.1; // shares that are no farther from an even one count as even

const colour = (kernel) => COLOURS[kernel % COLOURS.length];
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Return the farthest any share is from an even mixture, over that of an even one. */
const unevenness = (shares) => Math.max(...shares.map((share) => Math.abs(share * shares.length - 1)));

/**
 * Show the weights of the kernels of every layer.
 *
 * @param {Element} place The section of the page.
 * @param {[string, number[]][]} sites The name of each layer, and its kernels' shares.
 */
export function showAttention(place, sites) {
  place.hidden = sites.length === 0;
  if (place.hidden) {
    return;
  }
  const find = (id) => place.querySelector(`#${id}`);
  const kernels = Math.max(...sites.map(([, shares]) => shares.length));
  find("legend").replaceChildren(...Array.from({ length: kernels }, (_, k) => key(k)));
  const farthest = [...sites].sort((a, b) => unevenness(b[1]) - unevenness(a[1]))[0];
  find("verdict").textContent = verdict(farthest);
  const rows = sites.map(([name, shares]) => layer(name, shares, () => choose(name)));
  find("sites").replaceChildren(...rows);
  const choose = (name) => {
    rows.forEach((row) => row.setAttribute("aria-selected", row.dataset.site === name));
    detail(find("site"), find("kernels"), name, sites.find(([other]) => other === name)[1]);
  };
  choose(farthest[0]);
}

function verdict([name, shares]) {
  const most = `${(100 * unevenness(shares)).toFixed(0)} %`;
  return unevenness(shares) < EVEN
    ? `Here no kernel has more than ${most} above or below an even share: a network that was only ` +
        "converted has not learnt yet to tell photos apart by its kernels. Fine-tuning teaches it that."
    : `Farthest from an even mixture is ${name}, where a kernel has ${most} more or less than an even share.`;
}

function key(kernel) {
  const entry = document.createElement("span");
  entry.appendChild(document.createElement("b")).style.background = colour(kernel);
  entry.append(`kernel ${kernel + 1}`);
  return entry;
}

function layer(name, shares, choose) {
  const row = document.createElement("tr");
  row.dataset.site = name;
  const button = row.insertCell().appendChild(document.createElement("button"));
  button.textContent = name;
  const mix = row.insertCell().appendChild(document.createElement("div"));
  mix.className = "mix";
  mix.title = shares.map((share, k) => `kernel ${k + 1}: ${percent(share)}`).join(", ");
  shares.forEach((share, k) => {
    const part = mix.appendChild(document.createElement("i"));
    part.style.background = colour(k);
    part.style.width = `${100 * share}%`;
  });
  row.addEventListener("click", choose);
  return row;
}

function detail(title, table, name, shares) {
  title.textContent = `Layer ${name}`;
  table.replaceChildren(
    ...shares.map((share, k) => {
      const row = document.createElement("tr");
      row.dataset.share = share;
      row.insertCell().textContent = `kernel ${k + 1}`;
      const number = row.insertCell();
      number.className = "share";
      number.textContent = percent(share);
      const cell = row.insertCell();
      cell.className = "bar";
      const bar = cell.appendChild(document.createElement("i"));
      bar.style.background = colour(k);
      bar.style.width = `${100 * share}%`;
      return row;
    }),
  );
}
