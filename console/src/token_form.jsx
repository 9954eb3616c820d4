import { keepToken, useToken } from "./token.js";

/** Takes the token that what was asked for needs, or lets go of one that did not help. */
export function TokenForm({ scope }) {
  const token = useToken();
  const submit = (event) => {
    event.preventDefault();
    keepToken(new FormData(event.currentTarget).get("token").trim());
  };
  return (
    <form onSubmit={submit}>
      <p className="note">
        {scope === "READ" ? (
          <>Every valid token may read; this makes one: <code>haulout token create console</code></>
        ) : (
          <>This makes a token for it: <code>haulout token create console --scope {scope}</code></>
        )}
      </p>
      <label>
        Token, kept until this tab is closed
        <input name="token" type="password" autoComplete="off" required spellCheck="false" />
      </label>
      <button type="submit">Use it</button>
      {token && (
        <button type="button" onClick={() => keepToken("")}>
          Forget the one in use
        </button>
      )}
    </form>
  );
}
