import { Command, InvalidArgumentError } from 'commander'
import { registryConfigFromEnv } from '#libs/kafka/avro.ts'
import { kafkaConfigFromEnv } from '#libs/kafka/client.ts'
import { postgresConfigFromEnv } from '#libs/postgres/config.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { stackFromEnv } from '../local/local-stack.ts'
import { lineProgress } from '../local/progress.ts'
import { commonServiceEnv } from '../local/service-env.ts'
import { rebuild } from './rebuild.ts'

const DIFFERENT = 1
const FAILED = 2
const WAIT_S = 60

const progress = lineProgress((line) => console.log(line))
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort(new Error('interrupted')))

function wholeSeconds(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('a number of seconds')
  return Number(text)
}

const { keep, into, wait } = new Command('rebuild')
  .description('Rebuilds the tables of Postgres from the topics, in a database beside the live one, and compares the two')
  .option('--keep', 'keep the new database', false)
  .option('--into <name>', 'its name (kept); one that is there must be empty')
  .option('--wait <seconds>', 'how long message-persister may take to catch up', wholeSeconds, WAIT_S)
  .parse()
  .opts<{ keep: boolean; into?: string; wait: number }>()

// Where nothing says otherwise, the stack of `npm start`.
const env = process.env['KAFKA_BROKERS'] ? process.env : { ...commonServiceEnv(stackFromEnv({ env: process.env, progress }).world), ...process.env }
try {
  const config = { kafka: kafkaConfigFromEnv(env), registry: registryConfigFromEnv(env), postgres: postgresConfigFromEnv(env) }
  const logger = createLogger('rebuild', 'rebuild', env['LOG_LEVEL'] === 'debug' ? 'debug' : 'error')
  const report = await rebuild({ config, options: { keep, into, waitMs: wait * 1_000 }, progress, logger, signal: interrupted.signal })
  if (!report.isEqual) process.exitCode = DIFFERENT
} catch (err) {
  console.error(`rebuild: ${(err as Error).message}`)
  process.exitCode = FAILED
}
