// Classifies a photo with model.onnx, in onnxruntime-web, and hands on what the attentions say.
// README.md says how to set it up.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { showAttention } from "./attention.mjs";

const SHOWN = 5;

const page = (id) => document.getElementById(id);

/** Draw the middle of an image as the network sees it, and return its numbers. */
function prepared(image, { height, width, mean, std }) {
  const canvas = page("seen");
  [canvas.height, canvas.width] = [height, width];
  page("size").textContent = `${width} x ${height}`;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const scale = Math.min(image.width / width, image.height / height);
  const [w, h] = [width * scale, height * scale];
  context.drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height).data; // red, green, blue, alpha
  const size = height * width;
  const values = new Float32Array(3 * size);
  for (let place = 0; place < size; place++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = pixels[4 * place + channel] / 255;
      values[channel * size + place] = (value - mean[channel]) / std[channel];
    }
  }
  return new ort.Tensor("float32", values, [1, 3, height, width]);
}

function softmax(scores) {
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function showAnswer(scores, labels) {
  const shares = softmax(scores);
  const best = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, SHOWN);
  page("answer").replaceChildren(
    ...best.map((place) => {
      const row = document.createElement("tr");
      row.insertCell().textContent = labels[place] ?? `class ${place}`;
      const share = row.insertCell();
      share.className = "share";
      share.textContent = `${(100 * shares[place]).toFixed(1)} %`;
      const bar = row.insertCell();
      bar.className = "bar";
      bar.appendChild(document.createElement("i")).style.width = `${100 * shares[place]}%`;
      row.dataset.place = place;
      row.dataset.share = shares[place];
      return row;
    }),
  );
}

async function classify(session, facts, blob) {
  const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const feed = { [session.inputNames[0]]: prepared(image, facts.preprocessing) };
  const begin = performance.now();
  const found = await session.run(feed);
  const took = performance.now() - begin;
  showAnswer([...found.scores.data], facts.labels);
  const weights = Object.entries(facts.sites).map(([name, output]) => [name, [...found[output].data]]);
  showAttention(page("attention"), weights);
  page("result").hidden = false;
  page("status").textContent = `done in ${took.toFixed(0)} ms, by ${facts.name}`;
}

async function fetched(name) {
  const found = await fetch(name);
  if (!found.ok) {
    throw new Error(`there is no ${name} here; README.md says how to make it`);
  }
  return found;
}

async function main() {
  const facts = await (await fetched("model.json")).json();
  const bytes = await (await fetched("model.onnx")).arrayBuffer();
  const session = await ort.InferenceSession.create(bytes);
  const show = (blob) => classify(session, facts, blob).catch(complain);
  page("photo").addEventListener("change", (event) => show(event.target.files[0]));
  page("status").textContent = "ready: choose a photo";
  const address = new URLSearchParams(location.search).get("photo");
  if (address !== null) {
    await show(await (await fetched(address)).blob());
  }
}

function complain(error) {
  page("status").textContent = `failed: ${error.message ?? error}`;
}

main().catch(complain);
