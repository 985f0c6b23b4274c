// Questions to the server. The token comes from the link's fragment, which browsers never send.

import { keep, kept } from "./kept.js";

const [fragment] = location.hash.slice(1).split("&");
if (fragment.length > 20) keep("cornu-token", fragment);
export const token = kept("cornu-token");

// Which network is asked about: "tour" for the packaged one, nothing for the one that is served.
export const net = new URLSearchParams(location.hash.slice(fragment.length + 2)).get("net") ?? "";

async function send(path, method, body) {
  let response;
  try {
    response = await fetch(path, { method, body, headers: { authorization: `Bearer ${token}` } });
  } catch {
    throw new Error("The server does not answer. Is cornu still running?");
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Error(answer.error || `The server refused: ${response.status}.`);
  }
  return response;
}

function query(path, parameters) {
  const text = new URLSearchParams(net ? { ...parameters, net } : parameters).toString();
  return text ? `${path}?${text}` : path;
}

export async function getJson(path, parameters, method = "GET", body = undefined) {
  return (await send(query(path, parameters), method, body)).json();
}

// An answer with arrays: the header's length, the header, the arrays, each from a multiple of four bytes.
export async function getArrays(path, parameters, method = "GET", body = undefined) {
  return arraysOf(await send(query(path, parameters), method, body));
}

// An answer of either kind.
export async function post(path, parameters, body) {
  const response = await send(query(path, parameters), "POST", body);
  return response.headers.get("content-type").startsWith("application/json") ? response.json() : arraysOf(response);
}

async function arraysOf(response) {
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  return {
    header,
    take(Kind, count) {
      const array = new Kind(buffer, at, count);
      at += Math.ceil((count * Kind.BYTES_PER_ELEMENT) / 4) * 4;
      return array;
    },
  };
}

// Does one thing at a time; of what is asked for meanwhile, only the last is done.
export function latest(work, failed) {
  let busy = false, next = null;
  return async function ask(...values) {
    if (busy) { next = values; return; }
    busy = true;
    try {
      await work(...values);
    } catch (error) {
      failed(error);
    } finally {
      busy = false;
      if (next) { const values = next; next = null; ask(...values); }
    }
  };
}
