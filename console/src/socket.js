// One WebSocket for everything that this tab listens to, in the protocol graphql-transport-ws (enisdenjo/graphql-ws,
// PROTOCOL.md). It is opened for the first listener and again whenever it breaks; who listens need not know.

import { useSyncExternalStore } from "react";
import { Refusal } from "./ask.js";
import { authorization, onToken } from "./token.js";

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 8_000;
const SILENCE_MS = 40_000; // the server pings every 15 s: a line that says nothing for so long is dead

const listeners = new Map(); // id: what was asked for, and who wants to know
const watchers = new Set();
let socket = null;
let isConnected = false;
let waitMs = FIRST_WAIT_MS;
let retry = null;
let heardAt = 0;
let lastId = 0;

/** Listen to a subscription until what is returned is called; after a break it begins anew with how things are. */
export function listen(query, variables, { next, error = () => {}, complete = () => {} }, operationName = undefined) {
  lastId += 1;
  const id = String(lastId);
  listeners.set(id, { payload: { query, variables, operationName }, next, error, complete });
  if (isConnected) subscribe(id);
  else if (!socket && !retry) open();
  return () => {
    if (!listeners.delete(id)) return;
    if (isConnected) send({ id, type: "complete" });
  };
}

/** Whether subscriptions are being told; and be told when that changes. */
export const connected = () => isConnected;
export function onConnection(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}
export const useConnected = () => useSyncExternalStore(onConnection, connected);

function open() {
  clearTimeout(retry);
  retry = null;
  const mine = new WebSocket(`${location.origin.replace(/^http/, "ws")}/graphql`, "graphql-transport-ws");
  socket = mine;
  mine.onopen = () => mine === socket && send({ type: "connection_init", payload: authorization() });
  mine.onclose = () => mine === socket && broken();
  mine.onmessage = ({ data }) => {
    if (mine !== socket) return;
    heardAt = Date.now();
    hear(JSON.parse(data));
  };
}

function hear({ type, id, payload }) {
  if (type === "connection_ack") {
    waitMs = FIRST_WAIT_MS;
    [...listeners.keys()].forEach(subscribe);
    setConnected(true);
  } else if (type === "ping") {
    send({ type: "pong" });
  } else if (type === "next") {
    listeners.get(id)?.next(payload);
  } else if (type === "error" || type === "complete") {
    const ended = listeners.get(id);
    listeners.delete(id);
    if (type === "complete") ended?.complete();
    else ended?.error(new Refusal(payload[0]?.extensions?.code ?? "UNKNOWN", payload[0]?.message ?? "The subscription ended."));
  }
}

const send = (message) => socket.send(JSON.stringify(message));
const subscribe = (id) => send({ id, type: "subscribe", payload: listeners.get(id).payload });

function broken() {
  socket = null;
  clearTimeout(retry);
  retry = null;
  setConnected(false);
  if (!listeners.size) return;
  retry = setTimeout(open, waitMs * (0.5 + Math.random()));
  waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
}

function hangUp() {
  const dead = socket;
  socket = null; // a close that the other side never answers would keep us waiting
  dead?.close();
  broken();
}

function setConnected(now) {
  if (now === isConnected) return;
  isConnected = now;
  watchers.forEach((watcher) => watcher());
}

onToken(() => {
  waitMs = FIRST_WAIT_MS;
  hangUp();
});
setInterval(() => isConnected && Date.now() - heardAt > SILENCE_MS && hangUp(), 5_000);
