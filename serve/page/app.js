// The shell: the header, the way from an address (#/product/ID) to a view, and what every view has around it. A view
// is a module whose default export is a component that takes `argument`, the rest of the address; it is loaded when
// it is opened.
import {Component, html, render, useEffect, useState} from "./vendor.js";
import {useConnection} from "./connection.js";
import {Unloaded, useModule} from "./loaded.js";
import {Loading} from "./states.js";

const VIEWS = {
  __proto__: null,
  "": {title: "Search", load: () => import("./search.js")},
  product: {title: "Product", load: () => import("./product.js")},
  catalogue: {title: "Catalogue", load: () => import("./catalogue.js")},
  operate: {title: "Operate", load: () => import("./operate.js")},
  compare: {title: "Compare", load: () => import("./compare.js")},
};
const NAVIGATION = ["", "catalogue", "operate", "compare"];

/** The address as {name, argument}; the argument is decoded. */
function whereTo() {
  const [, name = "", ...rest] = location.hash.split("/");
  const argument = rest.join("/");
  try {
    return {name, argument: decodeURIComponent(argument)};
  } catch {
    return {name, argument};
  }
}

function useAddress() {
  const [address, setAddress] = useState(whereTo);
  useEffect(() => {
    const changed = () => location.hash !== "#main" && setAddress(whereTo());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

let arrived = false; // whether a view has been shown since the page was opened

/** On navigation the reader is taken to the new view's heading, unless the view has put the focus itself. */
function useArrival(ready) {
  useEffect(() => {
    if (!ready) return;
    const main = document.querySelector("main");
    if (arrived && !main.contains(document.activeElement))
      (main.querySelector("h1") || main).focus({preventScroll: true});
    arrived = true;
  }, [ready]);
}

function Body({name, argument}) {
  const {Part, error, again} = useModule(VIEWS[name]?.load);
  useEffect(() => {
    document.title = [argument, VIEWS[name]?.title || "Not found", "visnet"].filter(Boolean).join(" · ");
    if (name) scrollTo(0, 0);
  }, [name, argument]);
  useArrival(Boolean(Part || error || !VIEWS[name]));
  if (Part) return html`<${Part} argument=${argument} />`;
  return html`<div class="view">
    <h1 tabindex="-1">${VIEWS[name]?.title || "There is no such page"}</h1>
    ${!VIEWS[name] && html`<p><a href="#/">Go to the search</a></p>`}
    ${error && html`<${Unloaded} again=${again} />`}
    ${VIEWS[name] && !error && html`<${Loading} what="Loading" />`}
  </div>`;
}

/** Shows that a view has failed, instead of an empty page; another view is not touched by it. */
class Guard extends Component {
  static getDerivedStateFromError = (error) => ({error});

  componentDidCatch = (error) => console.error(error);

  render({children}, {error}) {
    if (!error) return children;
    return html`<div class="view">
      <h1 tabindex="-1">This part of the page has failed</h1>
      <div class="note bad" role="alert"><p>${String(error)}</p>
        <button type="button" class="button small" onClick=${() => this.setState({error: null})}>Try again</button>
      </div>
    </div>`;
  }
}

function Header({name}) {
  const here = name === "product" ? "" : name;
  return html`<header class="top">
    <div class="top-in">
      <a class="name" href="#/"><img src="page/icon.svg" width="24" height="24" alt="" />visnet</a>
      <nav aria-label="Main">
        ${NAVIGATION.map((one) => {
          const current = one === here ? "page" : null;
          return html`<a href=${`#/${one}`} aria-current=${current}>${VIEWS[one].title}</a>`;
        })}
      </nav>
    </div>
  </header>`;
}

function App() {
  const {name, argument} = useAddress();
  const {online} = useConnection();
  const skip = (event) => {
    event.preventDefault();
    document.querySelector("main").focus();
  };
  return html`
    <a class="skip button primary" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} name=${name} />
    <div role="status">
      ${!online &&
      html`<p class="offline">No connection to the service. The page goes on by itself when it is back.</p>`}
    </div>
    <main id="main" tabindex="-1">
      <${Guard} key=${`${name}/${argument}`}><${Body} name=${name} argument=${argument} /></${Guard}>
    </main>
  `;
}

history.scrollRestoration = "manual";
render(html`<${App} />`, document.body);
