import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError, Option } from 'commander'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { isUserId } from '#libs/domain/ids.ts'

/** `npm run token`: prints one token of the local stack's development key, and nothing else, on stdout. */
const root = fileURLToPath(new URL('../../', import.meta.url))
const TTL_S_MAX = 365 * 24 * 3600

type TokenOptions = { user: string; role: string; ttl: number }

function parseUser(raw: string): string {
  if (!isUserId(raw)) throw new InvalidArgumentError('1 to 128 printable ASCII characters without spaces')
  return raw
}

function parseTtl(raw: string): number {
  const seconds = Number(raw)
  if (!/^\d+$/.test(raw) || seconds < 1 || seconds > TTL_S_MAX) throw new InvalidArgumentError(`1 to ${TTL_S_MAX} seconds`)
  return seconds
}

async function print({ user, role, ttl }: TokenOptions): Promise<void> {
  const { env } = process
  const token = await signDevToken({
    file: path.resolve(root, env['AUTH_DEV_KEY_FILE'] || '.local/dev-key.json'),
    issuer: env['AUTH_ISSUER'] || 'order-chat-dev',
    audience: env['AUTH_AUDIENCE'] || 'order-chat',
    userId: user,
    role,
    ttlS: ttl,
  })
  process.stdout.write(`${token}\n`)
}

const role = new Option('--role <role>', 'customer, vendor and rider may the same as user: the room decides who is what in it')
  .choices(['user', 'customer', 'vendor', 'rider', 'admin', 'moderator'])
  .default('user')
await new Command('token')
  .description('Print a development token for the local stack')
  .requiredOption('--user <id>', 'whom it speaks for', parseUser)
  .addOption(role)
  .option('--ttl <seconds>', 'how long it is valid', parseTtl, 8 * 3600)
  .action(print)
  .parseAsync()
