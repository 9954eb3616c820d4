// The bearer token of this tab, for what not everybody may do. It goes nowhere but to the process that the page is from,
// and is forgotten when the tab is closed.

import { useSyncExternalStore } from "react";

const KEY = "haulout.token";
const listeners = new Set();

export const readToken = () => sessionStorage.getItem(KEY) ?? "";

export function keepToken(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
  listeners.forEach((listener) => listener());
}

/** Be told when another token is used; what is returned ends that. */
export function onToken(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useToken = () => useSyncExternalStore(onToken, readToken);

/** The header, as an object: empty without a token. */
export function authorization() {
  const token = readToken();
  return token ? { authorization: `Bearer ${token}` } : {};
}
