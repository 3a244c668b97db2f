// Deletes files with one of ImageKit's SDKs for Node.js, and prints what the caller of the SDK gets, as JSON.
// Usage: node sdk.mjs 7:RETRIES|6 BASE_URL KEY bulk|single FILE_ID…
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const [version, baseURL, key, call, ...fileIds] = process.argv.slice(2);
const [major, retries] = version.split(":");

function current() {
  const ImageKit = require("@imagekit/nodejs").default;
  const client = new ImageKit({ privateKey: key, baseURL, maxRetries: Number(retries) });
  return call === "bulk" ? client.files.bulk.delete({ fileIds }) : client.files.delete(fileIds[0]);
}

function previous() {
  // Its base URL is fixed: a deployment changes DNS, a test the URL of each request.
  const axios = createRequire(require.resolve("imagekit"))("axios");
  axios.interceptors.request.use((config) => ({
    ...config,
    url: config.url.replace("https://api.imagekit.io", baseURL),
  }));
  const ImageKit = require("imagekit");
  const client = new ImageKit({ publicKey: "public_x", privateKey: key, urlEndpoint: "https://ik.imagekit.io/x" });
  return call === "bulk" ? client.bulkDeleteFiles(fileIds) : client.deleteFile(fileIds[0]);
}

const print = (seen) => console.log(JSON.stringify(seen));
try {
  print({ value: (await (major === "7" ? current() : previous())) ?? null });
} catch (error) {
  print({ error: error.constructor?.name ?? "Error", body: error.error ?? error });
}
