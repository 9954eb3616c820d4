// One upload at a time, kept outside of the pages: it goes on while others are looked at.

import { useSyncExternalStore } from "react";
import { change, Refusal } from "./ask.js";
import { listen } from "./socket.js";

export const CREATE = `mutation CreateUpload($input: CreateUploadInput!) {
  createUpload(input: $input) { uploadUrl operation { id } userErrors { code message retry } }
}`;

export const FOLLOW = `subscription Upload($id: ID!) {
  operation(id: $id) {
    phase doneBytes totalBytes error { code message retry } blob { blobId }
    perNode { weight hasConfirmed problem node { name } }
  }
}`;

const BROKEN = "The connection broke. Try again: what the nodes have already is not sent twice.";
const BEFORE_PAYING = ["WAITING", "RECEIVING"];

let run = null;
let stopListening = () => {};
const watchers = new Set();

export function useRun() {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => run,
  );
}

function publish(next) {
  run = next;
  watchers.forEach((watcher) => watcher());
}

export function forget() {
  stopListening();
  publish(null);
}

export const cancel = () => run?.cancel();

/**
 * Where an upload stands, for those who show it.
 *
 * An upload that the page has lost sight of goes on at the gateway once that has the whole of it.
 */
export function stateOf({ operation, error, blobId, isCancelled }) {
  if (blobId || operation?.phase === "DONE") return "done";
  if (isCancelled) return "cancelled";
  if (operation?.phase === "FAILED") return "failed";
  const isWhole = operation && !BEFORE_PAYING.includes(operation.phase);
  return error && !isWhole ? "failed" : "running";
}

/** Announce an upload, bring the file to the gateway, and follow what becomes of it. */
export async function start(file, input) {
  stopListening();
  const cut = new AbortController();
  const key = Symbol("upload");
  const isShown = () => run?.key === key;
  const tell = (changes) => isShown() && publish({ ...run, ...changes });
  const cancelThis = () => {
    cut.abort();
    tell({ isCancelled: true });
  };
  publish({ key, name: file.name, size: file.size, sent: 0, lastPhase: "RECEIVING", operation: null, error: null, blobId: null, cancel: cancelThis });
  try {
    const { uploadUrl, operation } = await change(CREATE, "createUpload", input);
    if (cut.signal.aborted) return;
    tell({ operationId: operation.id });
    stopListening = listen(FOLLOW, { id: operation.id }, { next: ({ data }) => data?.operation && tell(seen(data.operation)) });
    const { newlyCreated, alreadyCertified } = await put(file, uploadUrl, cut.signal, (sent) => tell({ sent }));
    tell({ blobId: newlyCreated?.blobObject.blobId ?? alreadyCertified.blobId, wasThere: !newlyCreated });
  } catch (error) {
    tell({ error });
  }
}

function seen(operation) {
  const isOver = operation.phase === "DONE" || operation.phase === "FAILED";
  return { operation, ...(isOver ? {} : { lastPhase: operation.phase }), ...(operation.blob ?? {}) };
}

/** Put the content through the process that this page is from: its policy lets it talk to no other. */
function put(file, uploadUrl, signal, onSent) {
  return new Promise((resolve, reject) => {
    const transfer = new XMLHttpRequest(); // fetch does not tell how much has been sent
    transfer.open("PUT", `/console/uploads/${uploadUrl.split("/").at(-1)}`);
    transfer.responseType = "json";
    transfer.upload.onprogress = ({ loaded }) => onSent(loaded);
    transfer.onload = () => {
      const { status, response } = transfer;
      if (status === 200) return resolve(response);
      const { details, message } = response?.error ?? {};
      return reject(new Refusal(details?.[0]?.reason ?? "UNKNOWN", message ?? `The gateway answers ${status}.`));
    };
    transfer.onerror = () => reject(new Refusal("CONNECTION_LOST", BROKEN));
    transfer.onabort = () => reject(new Refusal("CANCELLED", "Cancelled."));
    signal.addEventListener("abort", () => transfer.abort());
    transfer.send(file);
  });
}

addEventListener("beforeunload", (event) => {
  const isSending = run && stateOf(run) === "running" && run.sent < run.size;
  if (isSending) event.preventDefault();
});
