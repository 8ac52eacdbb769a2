// A file that a server sends by ranges, with faults on demand.

/**
 * `fault(range, request, response)` may answer in place of the file, and returns true if it did; `range` has `first`,
 * `last` and `nth`, the count of requests of bytes before it. Fields may be changed at any time.
 */
export class FaultyFile {
  etag = '"1"';
  headers = {};
  fault = () => false;
  /** Ranges for which this is true are not answered until `release()`. */
  gate = () => false;
  waiting = [];
  /** 0 is as fast as it goes. */
  bytesPerSecond = 0;
  /** First bytes of the ranges that were asked for, but for the one byte that tells the file's length. */
  asked = [];
  /** Answers under way. */
  open = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  handler = (request, response) => {
    this.open++;
    response.on("close", () => this.open--);
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const [first, last] = match ? [Number(match[1]), Number(match[2])] : [0, this.bytes.length - 1];
    const isProbe = match !== null && last === 0;
    if (this.fault({ first, last, isProbe, nth: this.asked.length }, request, response)) return;
    if (match && !isProbe) this.asked.push(first);
    const answer = () => this.answer({ first, last, isRange: match !== null }, request, response);
    if (!isProbe && this.gate({ first, last })) this.waiting.push(answer);
    else answer();
  };

  /** Answers what was held back, and holds back no more. */
  release() {
    this.gate = () => false;
    for (const answer of this.waiting.splice(0)) answer();
  }

  answer({ first, last, isRange }, request, response) {
    const headers = { "access-control-allow-origin": "*", ...(this.etag && { etag: this.etag }), ...this.headers };
    if (request.method === "HEAD" || !isRange) {
      response.writeHead(200, { ...headers, "content-length": this.bytes.length });
      return response.end(request.method === "HEAD" ? undefined : this.bytes);
    }
    if (first >= this.bytes.length) {
      return response.writeHead(416, { ...headers, "content-range": `bytes */${this.bytes.length}` }).end();
    }
    const part = this.bytes.subarray(first, last + 1);
    const contentRange = `bytes ${first}-${first + part.length - 1}/${this.bytes.length}`;
    response.writeHead(206, { ...headers, "content-range": contentRange, "content-length": part.length });
    void this.send(response, part);
  }

  async send(response, part) {
    const slice = this.bytesPerSecond ? Math.max(1, Math.ceil(this.bytesPerSecond / 50)) : part.length || 1;
    for (let at = 0; at < part.length && !response.destroyed; at += slice) {
      response.write(part.subarray(at, at + slice));
      if (this.bytesPerSecond) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    response.end();
  }
}

/** A fault: an answer of this status. */
export const status =
  (code, headers = {}) =>
  (_range, _request, response) => {
    response.writeHead(code, { "access-control-allow-origin": "*", ...headers }).end();
    return true;
  };

/** A fault: the headers of a good answer, `count` bytes, and then the connection is cut, or nothing comes any more. */
export const cutAfter =
  (file, count, { hang = false } = {}) =>
  ({ first, last }, _request, response) => {
    const part = file.bytes.subarray(first, last + 1);
    const contentRange = `bytes ${first}-${first + part.length - 1}/${file.bytes.length}`;
    const headers = { etag: file.etag, "content-range": contentRange, "content-length": part.length };
    response.writeHead(206, { "access-control-allow-origin": "*", ...headers });
    response.write(part.subarray(0, count), () => hang || response.destroy());
    return true;
  };
