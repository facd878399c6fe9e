import { Command, InvalidArgumentError, Option } from 'commander'
import { isRoomId, type RoomId } from '#libs/domain/ids.ts'
import { createLogger } from '#libs/runtime/logger.ts'
import { stackFromEnv } from '../local/local-stack.ts'
import { lineProgress } from '../local/progress.ts'
import { commonServiceEnv } from '../local/service-env.ts'
import { audit, type AuditOptions } from './audit.ts'
import { textOf } from './text.ts'

const BROKEN = 1
const FAILED = 2

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort(new Error('interrupted')))

function roomIdOf(text: string): RoomId {
  if (!isRoomId(text)) throw new InvalidArgumentError('1 to 128 of A-Z a-z 0-9 . _ : -')
  return text
}

function seqOf(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('a seq, from 1')
  return Number(text)
}

const options = new Command('audit')
  .description('Verifies that nothing of what happened in a room was changed, and shows the room as it was')
  .requiredOption('--room <id>', 'the room', roomIdOf)
  .option('--at <seq>', 'as it was right after this event; default: the last', seqOf)
  .addOption(new Option('--from <source>', 'what is verified').choices(['postgres', 'topic', 'both']).default('both'))
  .option('--json', 'the whole report as JSON', false)
  .parse()
  .opts<{ room: RoomId; at?: number; from: AuditOptions['from']; json: boolean }>()

// Where nothing says otherwise, the stack of `npm start`.
const isConfigured = process.env['KAFKA_BROKERS'] !== undefined || process.env['POSTGRES_URL'] !== undefined
const env = isConfigured ? process.env : { ...commonServiceEnv(stackFromEnv({ env: process.env, progress: lineProgress((line) => console.error(line)) }).world), ...process.env }
try {
  const report = await audit(env, { roomId: options.room, from: options.from, at: options.at }, createLogger('audit', 'audit', env['LOG_LEVEL'] === 'debug' ? 'debug' : 'error'), interrupted.signal)
  console.log(options.json ? JSON.stringify(report, null, 2) : textOf(report))
  if (!report.found) process.exitCode = FAILED
  else if (report.breaks.length > 0) process.exitCode = BROKEN
} catch (err) {
  console.error(`audit: ${(err as Error).message}`)
  process.exitCode = FAILED
}
