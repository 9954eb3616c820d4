import { useEffect, useRef, useState } from "react";

/** Ask the API this page came from; errors of the API are thrown with their code. */
export async function ask(query, variables = {}) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json" },
    body: JSON.stringify({ query, variables }),
  });
  const answer = await response.json();
  if (answer.errors?.length) {
    const [error] = answer.errors;
    throw new Error(`${error.message} [${error.extensions?.code ?? "?"}]`);
  }
  return answer;
}

/** The answer to a query, asked again every `everyMs`; the last one stays while the next is on its way. */
export function useAnswer(query, variables = {}, everyMs = 2000) {
  const [state, setState] = useState({ data: null, error: null, watermark: null });
  const key = JSON.stringify(variables);
  const alive = useRef(true);
  useEffect(() => {
    alive.current = true;
    let timer;
    const look = async () => {
      try {
        const answer = await ask(query, JSON.parse(key));
        if (alive.current) setState({ data: answer.data, error: null, watermark: answer.extensions?.watermark });
      } catch (error) {
        if (alive.current) setState((before) => ({ ...before, error: error.message }));
      }
      if (alive.current && everyMs) timer = setTimeout(look, everyMs);
    };
    look();
    return () => {
      alive.current = false;
      clearTimeout(timer);
    };
  }, [query, key, everyMs]);
  return state;
}
