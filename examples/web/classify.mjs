// Classifies a photo with model.onnx, in onnxruntime-web. README.md says how to set it up.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const MEAN = [0.485, 0.456, 0.406]; // of ImageNet, as torchvision's weights expect it
const DEVIATION = [0.229, 0.224, 0.225];
const SHOWN = 5;

const page = (id) => document.getElementById(id);

/** Draw the middle of an image as a square of the network's size, and return its numbers. */
function prepared(image, height, width) {
  const canvas = page("seen");
  [canvas.height, canvas.width] = [height, width];
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
      values[channel * size + place] = (value - MEAN[channel]) / DEVIATION[channel];
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

async function labels() {
  const found = await fetch("labels.json"); // a list of names, if there is one
  return found.ok ? await found.json() : [];
}

async function classify(session, names, blob) {
  const [, , height, width] = session.inputMetadata[0].shape;
  const image = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const begin = performance.now();
  const found = await session.run({ [session.inputNames[0]]: prepared(image, height, width) });
  const took = performance.now() - begin;
  const shares = softmax([...found[session.outputNames[0]].data]);
  const best = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, SHOWN);
  page("answer").replaceChildren(
    ...best.map((place) => {
      const row = document.createElement("tr");
      row.insertCell().textContent = names[place] ?? `class ${place}`;
      row.insertCell().textContent = shares[place].toFixed(4);
      return row;
    }),
  );
  page("status").textContent = `done in ${took.toFixed(0)} ms`;
}

async function main() {
  const [session, names] = [await ort.InferenceSession.create("model.onnx"), await labels()];
  const show = (blob) => classify(session, names, blob).catch(complain);
  page("photo").addEventListener("change", (event) => show(event.target.files[0]));
  page("status").textContent = "ready";
  const address = new URLSearchParams(location.search).get("photo");
  if (address !== null) {
    await show(await (await fetch(address)).blob());
  }
}

function complain(error) {
  page("status").textContent = `failed: ${error.message ?? error}`;
}

main().catch(complain);
