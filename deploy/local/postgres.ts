import { createHash } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { HOST, StackError, type StackConfig } from './config.ts'
import type { ProcessSpec } from './process.ts'
import { run } from './run.ts'
import { serverEnv, type Tools, type UnixUser } from './tools.ts'

/** Makes the role and the database of the services; docker-compose.yml runs the same file. */
export const POSTGRES_INIT_SQL = fileURLToPath(new URL('../docker/postgres-init.sql', import.meta.url))

/** The same in docker-compose.yml. fsync stays on: what Postgres says it has, it has. */
export const postgresSettings = { max_connections: '200', shared_buffers: '128MB' } as const

/** A dedicated cluster: its folder belongs to `user` when root, since Postgres refuses to run as root. */
export type PostgresCluster = { dir: string; user: UnixUser | undefined }

/**
 * Where the cluster's folder is: with the other data, unless the unprivileged user may not
 * enter that path (a project below /root, say); then in /var/tmp under a name made from the path.
 */
export async function postgresCluster(config: StackConfig, tools: Tools): Promise<PostgresCluster> {
  const dir = path.join(config.dataDir, 'postgres')
  const user = tools.postgresUser
  if (user === undefined) return { dir, user }
  mkdirSync(config.dataDir, { recursive: true })
  const enter = await run('/bin/sh', ['-c', 'cd "$1"', 'sh', config.dataDir], { cwd: '/', ...user })
  if (enter.ok) return { dir, user }
  const fallback = fallbackDir(config)
  mkdirSync(fallback, { recursive: true })
  if (statSync(fallback).uid !== process.getuid?.()) throw new StackError(`${fallback} belongs to somebody else; remove it, or move the data with ORDER_CHAT_LOCAL_DIR`)
  // Whatever the umask made of it, the other user must get through.
  chmodSync(fallback, 0o711)
  return { dir: path.join(fallback, 'postgres'), user }
}

/** Where a cluster goes that cannot be with the rest. Nothing else is ever put there. */
export function fallbackDir(config: Pick<StackConfig, 'dataDir'>): string {
  const id = createHash('sha256').update(config.dataDir).digest('hex').slice(0, 12)
  return `/var/tmp/order-chat-${id}`
}

/** Makes the cluster if it is not there. Half-made ones are never used: the folder appears by a rename. */
export async function preparePostgres(cluster: PostgresCluster, tools: Tools): Promise<void> {
  if (existsSync(path.join(cluster.dir, 'PG_VERSION'))) return
  const fresh = `${cluster.dir}.new`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true, mode: 0o700 })
  if (cluster.user) chownSync(fresh, cluster.user.uid, cluster.user.gid)
  const passwordless = ['--username', 'postgres', '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C']
  await runAs(cluster.user, path.join(tools.postgresBin, 'initdb'), ['-D', fresh, ...passwordless], tools)
  renameSync(fresh, cluster.dir)
}

/** Creates role and database once; told apart by a mark that is left after it was done. */
export async function setUpPostgres(cluster: PostgresCluster, config: StackConfig, tools: Tools): Promise<void> {
  const done = path.join(cluster.dir, 'order-chat-ready')
  if (existsSync(done)) return
  const target = ['-h', HOST, '-p', String(config.postgresPort), '-U', 'postgres', '-d', 'postgres']
  // As ourselves: the project's files may be out of the other user's reach.
  const file = ['-qX', '-v', 'ON_ERROR_STOP=1', '-f', POSTGRES_INIT_SQL]
  await runAs(undefined, path.join(tools.postgresBin, 'psql'), [...target, ...file], tools)
  writeFileSync(done, '')
}

export function postgresSpec(cluster: PostgresCluster, config: StackConfig, tools: Tools): ProcessSpec {
  const settings = {
    listen_addresses: HOST,
    port: String(config.postgresPort),
    // The default socket folder may not exist or belong to the system's own Postgres.
    unix_socket_directories: '',
    ...postgresSettings,
  }
  return {
    name: 'postgres',
    command: path.join(tools.postgresBin, 'postgres'),
    args: ['-D', cluster.dir, ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])],
    cwd: '/',
    env: serverEnv(tools),
    ...(cluster.user && { user: cluster.user }),
    // SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
    stopSignal: 'SIGINT',
    // Killed, it would leave its System V segment behind; this is its quickest own way.
    discardSignal: 'SIGQUIT',
    stopDeadlineMs: 15_000,
    ready: () => isAccepting(config.postgresPort, tools),
    readyDeadlineMs: 120_000,
  }
}

async function isAccepting(port: number, tools: Tools): Promise<boolean> {
  const target = ['-h', HOST, '-p', String(port), '-U', 'postgres']
  return (await run(path.join(tools.postgresBin, 'pg_isready'), ['-q', ...target], { env: serverEnv(tools) })).ok
}

async function runAs(user: UnixUser | undefined, command: string, args: readonly string[], tools: Tools): Promise<void> {
  const { ok, output } = await run(command, args, { cwd: '/', env: serverEnv(tools), ...user })
  if (!ok) throw new StackError(`${path.basename(command)} failed:\n${output}`)
}
