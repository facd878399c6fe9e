import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('./echo-process.ts', import.meta.url))
/** As a deployment has it, and large enough for every case of the suite. */
const FRAME_BYTES = { '': 64 * 1024, '-large': 32 * 1024 * 1024 } as const

export type Echo = { readonly name: string; readonly port: number; readonly isAlive: boolean; stop(): void }

/** The edge and bare uWebSockets.js, each with its limits as they are and with limits that no case reaches. */
export async function startEchoServers(): Promise<Echo[]> {
  const wanted = (['edge', 'bare'] as const).flatMap((kind) => Object.entries(FRAME_BYTES).map(([suffix, bytes]) => ({ kind, name: `${kind}${suffix}`, bytes })))
  return Promise.all(wanted.map(async ({ kind, name, bytes }) => {
    const child: ChildProcess = fork(file, [kind, String(bytes)], { execArgv: ['--disable-warning=ExperimentalWarning'], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    const [port] = (await once(child, 'message')) as [number]
    return {
      name,
      port,
      get isAlive() {
        return child.exitCode === null && child.signalCode === null
      },
      stop: () => child.disconnect(),
    }
  }))
}
