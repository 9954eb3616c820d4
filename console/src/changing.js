import { useState } from "react";
import { change } from "./ask.js";

/** A mutation that a button or a form asks for: how to ask, whether it is on its way, and what was refused. */
export function useChange(mutation, name, onDone = () => {}) {
  const [state, setState] = useState(null);
  const run = async (input) => {
    setState("asked");
    try {
      await change(mutation, name, input);
      setState(null);
      onDone();
    } catch (error) {
      setState(error);
    }
  };
  return { run, isAsked: state === "asked", error: state instanceof Error ? state : null };
}
