// Calls to the server, JSON in and out. An error answer becomes an ApiError with the server's message and the field at fault.

import { t } from "./text.js";

export class ApiError extends Error {
  constructor({ code = "error", message, field = null, details = [] }) {
    super(message);
    this.code = code;
    this.field = field;
    this.details = details;
  }
}

export const get = (path, options = {}) => call("GET", path, undefined, options);
export const post = (path, body, options = {}) => call("POST", path, body, options);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);

async function call(method, path, body, options = {}) {
  const response = await send(method, path, body, options);
  return response.status === 204 ? null : response.json();
}

// Return the response itself, for reading it as a stream. Throws ApiError unless the status is a success.
export async function send(method, path, body, options = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), ...options };
  const response = await fetch(path, request).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ code: "unreachable", message: t("js.unreachable") });
  });
  if (!response.ok) throw new ApiError(errorOf(await response.text().catch(() => "")));
  return response;
}

// Return the error inside an answer's text; anything that is not in our shape becomes one general message.
export function errorOf(text) {
  try {
    const { error } = JSON.parse(text);
    if (error?.message) return error;
  } catch {
    // not JSON: a proxy, or a server that is going down
  }
  return { message: t("js.unexpected") };
}

export const path = (strings, ...names) =>
  strings.reduce((whole, part, i) => whole + part + (i < names.length ? encodeURIComponent(names[i]) : ""), "");
