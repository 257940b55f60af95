// Runs a graph model by TensorFlow.js itself: node run_tfjs.js MODEL.json INPUT.f4 FOLDER
const fs = require("fs");
const path = require("path");
const tf = require("@tensorflow/tfjs");

const [file, input, folder] = process.argv.slice(2);
const bytes = (name) => {
  const read = fs.readFileSync(name);
  return read.buffer.slice(read.byteOffset, read.byteOffset + read.length);
};

(async () => {
  const model = JSON.parse(fs.readFileSync(file));
  const [group] = model.weightsManifest;
  const parts = group.paths.map((name) => fs.readFileSync(path.join(path.dirname(file), name)));
  const joined = Buffer.concat(parts);
  const weightData = joined.buffer.slice(joined.byteOffset, joined.byteOffset + joined.length);
  await tf.setBackend("cpu");
  const { modelTopology, signature, format } = model;
  const load = async () => ({ modelTopology, signature, format, weightSpecs: group.weights, weightData });
  const network = await tf.loadGraphModel({ load });
  const names = Object.keys(signature.outputs);
  const outputs = network.execute(tf.tensor(new Float32Array(bytes(input)), [1, 3, 416, 416]), names);
  names.forEach((name, i) => {
    const target = path.join(folder, name.replace(":0", "") + ".tfjs.f4");
    fs.writeFileSync(target, Buffer.from(outputs[i].dataSync().buffer));
  });
})();
