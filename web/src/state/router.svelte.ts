/** Where in the page the user is, as it stands behind the `#` of the address. */

export const VIEWS = ["chat", "models", "compare", "arena", "bench", "server"] as const;
export type View = (typeof VIEWS)[number];

interface Place {
  view: View;
  /** Which conversation, for example. */
  id: string | null;
}

function placeOf(hash: string): Place {
  const [view, id] = hash.replace(/^#\/?/, "").split("/");
  const known = VIEWS.find((name) => name === view);
  return { view: known ?? "chat", id: known && id ? decodeURIComponent(id) : null };
}

class Router {
  place = $state<Place>(placeOf(location.hash));

  constructor() {
    window.addEventListener("hashchange", () => (this.place = placeOf(location.hash)));
  }

  go(view: View, id: string | null = null, replace = false): void {
    const hash = `#/${view}${id ? `/${encodeURIComponent(id)}` : ""}`;
    if (replace) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
    this.place = { view, id };
  }
}

export const router = new Router();
