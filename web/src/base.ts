/** What relative URLs are relative to: the page, or the worker where the package was loaded into one. */
export const here = (): string => globalThis.document?.baseURI ?? globalThis.location.href;
