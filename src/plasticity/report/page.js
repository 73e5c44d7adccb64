(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("specs");
  const palettes = read("palettes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 600px)");

  // Colours in a specification are names; the palette in force puts values in their place.
  const painted = (node, palette) => {
    if (typeof node === "string") return palette[node] ?? node;
    if (Array.isArray(node)) return node.map((item) => painted(item, palette));
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(
      Object.entries(node).map(([key, value]) => [key, painted(value, palette)]),
    );
  };

  // A narrow page shows panels below each other; more than three share the axis of the first.
  const placed = ({ hconcat, ...rest }) => {
    if (!hconcat) return rest;
    return narrow.matches && hconcat.length < 4 ? { ...rest, vconcat: hconcat } : { ...rest, hconcat };
  };

  const draw = async (name, theme) => {
    const box = document.getElementById(`chart-${name}`);
    try {
      await window.vegaEmbed(box, painted(placed(specs[name]), palettes[theme]), {
        mode: "vega-lite",
        ast: true,
        renderer: "svg",
        defaultStyle: false,
        downloadFileName: name,
        tooltip: { theme },
        actions: { export: true, source: false, compiled: false, editor: false },
        i18n: { SVG_ACTION: "SVG", PNG_ACTION: "PNG" },
      });
      box.dataset.drawn = theme;
    } catch (error) {
      box.textContent = `This figure could not be drawn (${error.message}). Its data: ${name}.csv`;
      console.error(error);
    }
  };

  const drawAll = async () => {
    const theme = dark.matches ? "dark" : "light";
    for (const name of Object.keys(specs)) await draw(name, theme);
  };
  for (const query of [dark, narrow]) query.addEventListener("change", drawAll);
  await drawAll();
})();
