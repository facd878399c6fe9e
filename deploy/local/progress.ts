/** Tells the person at the terminal what is going on. Tests pass one that keeps quiet. */
export type Progress = {
  say(line: string): void
  /** Shows `what` before the work, every few seconds during it, and its time after it. */
  step<T>(what: string, work: (note: (text: string) => void) => Promise<T>): Promise<T>
}

const STILL_WORKING_EVERY_MS = 5_000

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

/** Writes plain lines: they read the same in a terminal, a CI log and a file. */
export function lineProgress(write: (line: string) => void): Progress {
  return {
    say: write,
    async step(what, work) {
      const startedMs = Date.now()
      let note = ''
      write(`… ${what}`)
      const timer = setInterval(() => {
        write(`… ${what}: ${seconds(Date.now() - startedMs)}${note && `, ${note}`}`)
      }, STILL_WORKING_EVERY_MS)
      try {
        const result = await work((text) => { note = text })
        write(`✓ ${what}: ${seconds(Date.now() - startedMs)}`)
        return result
      } catch (err) {
        write(`✗ ${what}: failed after ${seconds(Date.now() - startedMs)}`)
        throw err
      } finally {
        clearInterval(timer)
      }
    },
  }
}

/** For work that nobody waits at. */
export const quietProgress: Progress = {
  say: () => {},
  step: (_what, work) => work(() => {}),
}
