// Search in a page that was opened from the disk: browsers start no worker there, so a hidden frame,
// whose script sees the same two functions, does the work in its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.documentElement.append(frame)
      const inner = frame.contentWindow
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = inner.document.createElement("script")
      script.src = new URL(url, document.baseURI)
      this.ready = new Promise(done => { script.onload = done })
      inner.document.head.append(script)
      this.inner = inner
      this.frame = frame
    }

    async postMessage(data) {
      await this.ready
      this.inner.dispatchEvent(new MessageEvent("message", { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
