import type { TestProject } from 'vitest/node'
import { docker } from '../../deploy/local/docker.ts'
import { lineProgress } from '../../deploy/local/progress.ts'
import type { Machine } from '../../deploy/local/tools.ts'
import { startStack } from './own-stack.ts'
import { StackHost, type StackHostAddress } from './stack-host.ts'
import { prepareLocalStack } from './stack-local.ts'

declare module 'vitest' {
  interface ProvidedContext {
    stackHost: StackHostAddress
    stackBrokers: number
  }
}

/** Each vitest project loads this file for itself; the host they share hangs here. */
const shared = globalThis as { orderChatStackHost?: { host: Promise<StackHost>; users: number } }

/** The project whose tests come first; vitest sets projects up in another order than it runs them. */
const FIRST_PROJECT = 'stack'

/**
 * Runs once for each project that has tests in this run. The first project's stack starts right
 * away, so that no test's time limit has to cover a start; a later project's starts when its
 * first test asks, after the former one has ended.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const machine: Machine = { env: process.env, progress: lineProgress((line) => console.log(`stack: ${line}`)) }
  const entry = (shared.orderChatStackHost ??= { host: StackHost.listen((brokers) => startStack(brokers, machine)), users: 0 })
  entry.users++
  const host = await entry.host
  project.provide('stackHost', host.address)
  if (project.name === FIRST_PROJECT) await host.ensure(project.config.provide.stackBrokers ?? 1)
  else if (!(await docker.isChosen(machine))) await prepareLocalStack(machine)
  return async () => {
    if (--entry.users > 0) return
    delete shared.orderChatStackHost
    await host.close()
  }
}
