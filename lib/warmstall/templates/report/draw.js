"use strict";
// Draws each figure from the JSON beside it, and fits it to the paper when the page is printed.
const holders = Array.from(document.querySelectorAll("div.figure"));
for (const holder of holders) {
  const figure = JSON.parse(holder.querySelector("script").textContent);
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  Plotly.newPlot(holder, figure.data, figure.layout, config);
}
const fit = () => holders.forEach((holder) => Plotly.Plots.resize(holder));
window.addEventListener("beforeprint", fit);
window.addEventListener("afterprint", fit);
document.documentElement.dataset.figuresDrawn = String(holders.length);
