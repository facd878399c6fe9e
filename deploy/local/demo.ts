import { HOST } from './config.ts'
import { dashboard } from './demo/dashboard.ts'
import { dispute } from './demo/dispute.ts'
import { moderation } from './demo/moderation.ts'
import { orderLife } from './demo/order-life.ts'
import { Stage } from './demo/stage.ts'
import { talk } from './demo/talk.ts'
import { type RunningStack, stackFromEnv, startStack } from './local-stack.ts'
import { lineProgress } from './progress.ts'
import type { Machine } from './tools.ts'

/** `npm run demo`: plays what people do with it, shows what each of them sees, and checks each step. Exit code 1 if anything is not as it should be. */
const machine: Machine = { env: process.env, progress: lineProgress((line) => console.log(line)) }
const { ports, world } = stackFromEnv(machine)
const stage = new Stage(ports, world)

async function isUp(): Promise<boolean> {
  const answers = await Promise.all([...ports.edge, ports.api].map((port) => fetch(`http://${HOST}:${port}/`).catch(() => undefined)))
  return answers.every((answer) => answer !== undefined)
}

let started: RunningStack | undefined
try {
  if (!(await isUp())) {
    console.log('No stack is running here: one is started for the demo.')
    started = await startStack({ brokers: 1, infraOnly: false, extraEnv: {} }, machine)
  }
  await orderLife(stage)
  await talk(stage)
  await dispute(stage)
  await dashboard(stage)
  await moderation(stage)
  console.log('\nAll as it should be.')
} catch (err) {
  console.error(`\nThe demo has failed: ${(err as Error).message}`)
  process.exitCode = 1
} finally {
  await stage.end()
  await started?.stop()
}
process.exit()
