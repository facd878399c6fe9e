import { spawn } from 'node:child_process'

export type RunResult = { ok: boolean; output: string }

export type RunOptions = {
  cwd?: string
  env?: Record<string, string>
  uid?: number
  gid?: number
  signal?: AbortSignal
  /** Hears every line as it comes, for progress. */
  onLine?: (line: string) => void
}

/** Runs a command to its end. A missing program or a failure is an answer, not an exception. */
export function run(command: string, args: readonly string[], { onLine, ...options }: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let rest = ''
    const hear = (chunk: Buffer): void => {
      const text = chunk.toString()
      output += text
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine?.(line)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.on('error', (err) => resolve({ ok: false, output: err.message }))
    child.on('close', (code) => resolve({ ok: code === 0, output }))
  })
}
