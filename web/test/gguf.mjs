// Takes GGUF files apart and puts them together otherwise: split, or with a large vocabulary.
const WIDTHS = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const [U16, U32, STRING, ARRAY] = [2, 4, 8, 9];
const ALIGNMENT = 32;
const aligned = (length) => Math.ceil(length / ALIGNMENT) * ALIGNMENT;

/** A file's metadata, each value as its bytes with the type before them, and its tensors, with bytes if they are there. */
export function readGguf(file) {
  let at = 24;
  const number = (bytes) => Number(bytes === 8 ? file.readBigUInt64LE(at) : file.readUInt32LE(at));
  const take = (bytes) => [number(bytes), (at += bytes)][0];
  const text = () => [file.toString("utf8", at + 8, at + 8 + number(8)), (at += 8 + number(8))][0];
  const skip = (type) => {
    if (type === STRING) return text();
    if (type !== ARRAY) return (at += WIDTHS[type]);
    const [of, count] = [take(4), take(8)];
    if (of !== STRING) return (at += count * WIDTHS[of]);
    for (let i = 0; i < count; i++) at += 8 + number(8);
  };
  const [nTensors, nValues] = [Number(file.readBigUInt64LE(8)), Number(file.readBigUInt64LE(16))];
  const metadata = new Map();
  for (let i = 0; i < nValues; i++) {
    const [name, begin] = [text(), at];
    skip(take(4));
    metadata.set(name, file.subarray(begin, at));
  }
  const tensors = [];
  for (let i = 0; i < nTensors; i++) {
    const name = text();
    const shape = Array.from({ length: take(4) }, () => take(8));
    tensors.push({ name, shape, type: take(4), offset: take(8) });
  }
  const data = file.subarray(aligned(at));
  const ends = [...tensors.map(({ offset }) => offset), data.length].sort((a, b) => a - b);
  for (const tensor of tensors) {
    tensor.bytes = data.subarray(tensor.offset, ends.find((end) => end > tensor.offset));
  }
  return { metadata, tensors };
}

/** The texts in a value of metadata that is a list of them. */
export function texts(value) {
  const found = [];
  for (let at = 16; at < value.length; ) {
    const end = at + 8 + Number(value.readBigUInt64LE(at));
    found.push(value.toString("utf8", at + 8, end));
    at = end;
  }
  return found;
}

const packed = (length, write) => {
  const bytes = Buffer.alloc(length);
  write(bytes);
  return bytes;
};
const u32 = (value) => packed(4, (bytes) => bytes.writeUInt32LE(value));
const u64 = (value) => packed(8, (bytes) => bytes.writeBigUInt64LE(BigInt(value)));
const named = (name) => [u64(Buffer.byteLength(name)), Buffer.from(name)];

/** Whole numbers as values of metadata. */
export const asU32 = (value) => Buffer.concat([u32(U32), u32(value)]);
const asU16 = (value) => packed(6, (bytes) => [bytes.writeUInt32LE(U16), bytes.writeUInt16LE(value, 4)]);

/** A file of metadata and of tensors with their bytes. */
export function writeGguf({ metadata, tensors }) {
  const head = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(metadata.size)];
  for (const [name, value] of metadata) head.push(...named(name), value);
  let offset = 0;
  for (const { name, shape, type, bytes } of tensors) {
    head.push(...named(name), u32(shape.length), ...shape.map(u64), u32(type), u64(offset));
    offset += aligned(bytes.length);
  }
  const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc(aligned(bytes.length) - bytes.length)]);
  return Buffer.concat([padded(Buffer.concat(head)), ...tensors.map(({ bytes }) => padded(bytes))]);
}

/** A file's tensors in `count` files. */
export function splitGguf(file, count) {
  const { metadata, tensors } = readGguf(file);
  const size = Math.ceil(tensors.length / count);
  return Array.from({ length: count }, (_, i) => {
    const split = [["split.no", asU16(i)], ["split.count", asU16(count)], ["split.tensors.count", asU32(tensors.length)]];
    const own = new Map([...(i === 0 ? metadata : []), ...split]);
    return writeGguf({ metadata: own, tensors: tensors.slice(i * size, (i + 1) * size) });
  });
}

/** A model with the tokenizer of another one; the embeddings of its tokens recur. */
export function withVocabulary(file, other) {
  const { metadata, tensors } = readGguf(file);
  const large = readGguf(other).metadata;
  for (const [name, value] of large) if (name.startsWith("tokenizer.")) metadata.set(name, value);
  const count = texts(large.get("tokenizer.ggml.tokens")).length;
  const widened = ({ name, shape: [width, rows], type, bytes }) => {
    const row = Math.floor(bytes.length / rows); // Behind the last one, bytes to align the next tensor.
    return { name, shape: [width, count], type, bytes: Buffer.alloc(row * count, bytes.subarray(0, row * rows)) };
  };
  const isTable = ({ name }) => name === "token_embd.weight" || name === "output.weight";
  return writeGguf({ metadata, tensors: tensors.map((tensor) => (isTable(tensor) ? widened(tensor) : tensor)) });
}
