import { docker } from '../../deploy/local/docker.ts'
import type { Progress } from '../../deploy/local/progress.ts'
import type { Machine } from '../../deploy/local/tools.ts'
import { type Stack, stackAt } from './stack.ts'
import { startDockerStack } from './stack-docker.ts'
import { StackHost } from './stack-host.ts'
import { startLocalStack } from './stack-local.ts'
import type { StackProvider } from './stack-provider.ts'

/** A throw-away stack: in containers where a Docker daemon answers, else as local processes. */
export async function startStack(brokers: number, machine: Machine): Promise<StackProvider> {
  if (await docker.isChosen(machine)) return startDockerStack(brokers, machine)
  return startLocalStack(brokers, machine)
}

/** The stack of a program that vitest does not run: fresh, for this process alone. */
export async function startOwnStack(brokers: number, progress: Progress): Promise<{ readonly stack: Stack; close(): Promise<void> }> {
  const host = await StackHost.listen((count) => startStack(count, { env: process.env, progress }))
  try {
    return { stack: await stackAt(host.address, brokers), close: () => host.close() }
  } catch (err) {
    await host.close()
    throw err
  }
}
