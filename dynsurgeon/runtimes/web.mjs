// Answers the requests of dynsurgeon/runtimes/worker.py with onnxruntime-web.
// Called as: node web.mjs FOLDER, where FOLDER holds the package.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";

const answer = (value) => process.stdout.write(JSON.stringify(value) + "\n");
for (const name of ["log", "info", "debug", "warn"]) {
  console[name] = console.error; // stdout is for answers alone
}

const ort = createRequire(join(process.argv[2], "package.json"))("onnxruntime-web");
ort.env.logLevel = "error";

const KINDS = {
  F64: ["float64", Float64Array],
  F32: ["float32", Float32Array],
  F16: ["float16", Uint16Array],
  I64: ["int64", BigInt64Array],
  I32: ["int32", Int32Array],
  I16: ["int16", Int16Array],
  I8: ["int8", Int8Array],
  U64: ["uint64", BigUint64Array],
  U32: ["uint32", Uint32Array],
  U16: ["uint16", Uint16Array],
  U8: ["uint8", Uint8Array],
  BOOL: ["bool", Uint8Array],
};
const CODES = Object.fromEntries(Object.entries(KINDS).map(([code, [type]]) => [type, code]));

// A file of safetensors: the length of a header, the header (JSON), the numbers.
function readTensors(path) {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start));
  const tensors = [];
  for (const [place, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (place === "__metadata__") continue;
    const [type, Kind] = KINDS[dtype];
    const own = Uint8Array.from(bytes.subarray(start + from, start + to)); // aligned
    tensors[Number(place)] = new ort.Tensor(type, new Kind(own.buffer), shape);
  }
  return tensors;
}

function writeTensors(path, tensors) {
  const header = {};
  const pieces = [];
  let length = 0;
  tensors.forEach((tensor, place) => {
    const { buffer, byteOffset, byteLength } = tensor.data;
    const entry = { dtype: CODES[tensor.type], shape: [...tensor.dims] };
    header[place] = { ...entry, data_offsets: [length, length + byteLength] };
    pieces.push(new Uint8Array(buffer, byteOffset, byteLength));
    length += byteLength;
  });
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, ...pieces]));
}

let session = null;
let feeds = {};

async function load({ file, threads }) {
  ort.env.wasm.numThreads = threads ?? 1;
  const data = `${file}.data`;
  const external = existsSync(data) ? [{ path: basename(data), data: readFileSync(data) }] : [];
  session = await ort.InferenceSession.create(new Uint8Array(readFileSync(file)), {
    executionProviders: ["wasm"],
    externalData: external,
  });
  return {};
}

async function run(request) {
  if (request.do === "run") {
    const tensors = readTensors(request.from);
    feeds = Object.fromEntries(session.inputNames.map((name, i) => [name, tensors[i]]));
  }
  const begin = performance.now();
  const found = await session.run(feeds);
  const seconds = (performance.now() - begin) / 1e3;
  if (request.do === "run") {
    writeTensors(request.to, session.outputNames.map((name) => found[name]));
  }
  return { seconds };
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const request = JSON.parse(line);
    answer({ ok: true, ...(await (request.do === "load" ? load(request) : run(request))) });
  } catch (error) {
    answer({ ok: false, error: String(error?.message ?? error) });
  }
}
process.exit(0);
