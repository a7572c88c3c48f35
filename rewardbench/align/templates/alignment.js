// Only comfort: the two clips of a prompt start together. They can be played one by one without it.
(() => {
  const ready = (video) =>
    video.readyState >= 3
      ? Promise.resolve()
      : new Promise((done) => {
          video.addEventListener("canplay", done, { once: true });
          video.addEventListener("error", done, { once: true });
          video.load();
        });
  for (const take of document.querySelectorAll(".take")) {
    const button = take.querySelector("button.both");
    const videos = [...take.querySelectorAll("video")];
    if (!button || videos.length < 2) continue;
    const playing = () => videos.some((video) => !video.paused);
    const say = () => { button.textContent = playing() ? "Pause both" : "Play both"; };
    for (const video of videos) for (const event of ["play", "pause"]) video.addEventListener(event, say);
    button.addEventListener("click", async () => {
      if (playing()) return videos.forEach((video) => video.pause());
      await Promise.all(videos.map(ready));
      for (const video of videos) video.currentTime = 0;
      for (const video of videos) video.play().catch(() => {});
    });
    button.hidden = false;
  }
})();
