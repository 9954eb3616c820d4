// Answers that stay true: a subscription says that something has changed, and the whole of it is asked for anew, so that
// everything on a page is as of one block.

import { useCallback, useEffect, useRef, useState } from "react";
import { ask } from "./ask.js";
import { connected, listen, onConnection } from "./socket.js";
import { useToken } from "./token.js";

const SETTLE_MS = 100; // changes come in bursts
const SPACING_MS = 2_000; // between two answers, however much happens: each takes points of this client's allowance
const UNTOLD_MS = 10_000; // bytes, blocks and clocks change without anybody being told
const ALONE_MS = 2_000; // while nobody can be told anything
const NOTHING = { data: null, error: null, watermark: null, answeredAt: null };

/**
 * What a page asks for, asked again when one of `wakes` (documents of subscriptions) tells something, and at once by `renew`,
 * for what the page has changed itself.
 */
export function useLive(query, variables = {}, wakes = []) {
  const [answer, setAnswer] = useState(NOTHING);
  const token = useToken();
  const lookNow = useRef(() => {});
  const renew = useCallback(() => lookNow.current(), []);
  const key = JSON.stringify([variables, wakes]);
  useEffect(() => {
    const [asked, subscriptions] = JSON.parse(key);
    let isShown = true;
    let isAsking = false;
    let isStale = false;
    let timer;
    let dueAt = Infinity;
    let askedAt = -Infinity;
    const lookIn = (waitMs) => {
      if (!isShown || Date.now() + waitMs >= dueAt) return;
      clearTimeout(timer);
      dueAt = Date.now() + waitMs;
      timer = setTimeout(look, waitMs);
    };
    const look = async () => {
      dueAt = Infinity;
      isStale = isAsking;
      if (isAsking || document.hidden) return;
      isAsking = true;
      askedAt = Date.now();
      let found;
      try {
        const { data, extensions } = await ask(query, asked);
        found = { data, error: null, watermark: extensions?.watermark ?? null, answeredAt: Date.now() };
      } catch (error) {
        found = { error };
      }
      isAsking = false;
      if (isShown) setAnswer((before) => ({ ...before, ...found }));
      if (isStale) soon();
      else lookIn(found.error?.code === "RATE_LIMITED" || (connected() && !found.error) ? UNTOLD_MS : ALONE_MS);
    };
    const soon = () => lookIn(Math.max(SETTLE_MS, askedAt + SPACING_MS - Date.now()));
    const stops = subscriptions.map((document) => listen(document, asked, { next: soon }));
    stops.push(onConnection(soon));
    document.addEventListener("visibilitychange", soon);
    stops.push(() => document.removeEventListener("visibilitychange", soon));
    lookNow.current = look;
    look();
    return () => {
      isShown = false;
      clearTimeout(timer);
      stops.forEach((stop) => stop());
    };
  }, [query, key, token]);
  return { ...answer, renew };
}

/** The time, as it goes by. */
export function useNow(everyMs = 1_000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
