// What tests do in the page: collecting events, and watching the GPU.

/** All events of an answer, with the texts of thought and answer and the last event. */
export async function collect(events) {
  const all = [];
  for await (const event of events) all.push(event);
  const text = (type) => all.filter((e) => e.type === type).map((e) => e.text).join("");
  return { all, reasoning: text("reasoning"), answer: text("answer"), done: all.findLast((e) => e.type === "done") };
}

/** What a work throws, or null. */
export const thrown = (work) =>
  Promise.resolve().then(work).then(() => null, (e) => ({ name: e.name, code: e.code, message: e.message }));

/** Every device that is opened from now on, until `stop`. */
export function recordDevices() {
  const devices = [];
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...args) {
    devices.push(await requestDevice.apply(this, args));
    return devices.at(-1);
  };
  return { devices, stop: () => (GPUAdapter.prototype.requestDevice = requestDevice) };
}

/** Bytes of the buffers of devices that are not destroyed: now, and at most; and how many devices have any. Until `stop`. */
export function watchMemory() {
  const { createBuffer, destroy } = GPUDevice.prototype;
  const of = new Map();
  const watch = { held: 0, most: 0, devices: () => of.size, stop: () => Object.assign(GPUDevice.prototype, { createBuffer, destroy }) };
  GPUDevice.prototype.createBuffer = function (descriptor) {
    of.set(this, (of.get(this) ?? 0) + descriptor.size);
    watch.held += descriptor.size;
    watch.most = Math.max(watch.most, watch.held);
    return createBuffer.call(this, descriptor);
  };
  GPUDevice.prototype.destroy = function () {
    watch.held -= of.get(this) ?? 0;
    of.delete(this);
    return destroy.call(this);
  };
  return watch;
}
