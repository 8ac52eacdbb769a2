// Serves this folder's parent, web/, to the browser under test: on 127.0.0.1, which counts as a secure context, so
// WebGPU is there without a certificate.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** What a file is served as, by its extension. */
export const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

/**
 * Starts on a free port. `routes` maps further paths to handlers. Returns the origin and a function that stops the server.
 */
export async function serve(routes = {}) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://127.0.0.1");
    if (routes[pathname]) return routes[pathname](request, response);
    const file = path.join(ROOT, path.normalize(decodeURIComponent(pathname)));
    const type = TYPES[path.extname(file)];
    try {
      if (!type || !file.startsWith(ROOT)) throw new Error("not served");
      const body = await readFile(file);
      response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { origin: `http://127.0.0.1:${server.address().port}`, close };
}

/** A handler that serves `bytes` by ranges, as a file server does. `headers` go with every answer. */
export function byRanges(bytes, headers = {}) {
  return (request, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")?.map(Number) ?? [];
    if (first === undefined) {
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      return response.end(request.method === "HEAD" ? undefined : bytes);
    }
    if (first >= bytes.length) {
      return response.writeHead(416, { ...headers, "content-range": `bytes */${bytes.length}` }).end();
    }
    const part = bytes.subarray(first, last + 1);
    const contentRange = `bytes ${first}-${first + part.length - 1}/${bytes.length}`;
    response.writeHead(206, { "content-range": contentRange, ...headers, "content-length": part.length });
    response.end(part);
  };
}
