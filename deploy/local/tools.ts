import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { installWithApt } from './apt.ts'
import { type Env, StackError } from './config.ts'
import type { Progress } from './progress.ts'
import { run, type RunOptions } from './run.ts'

/** The machine as it was found: its environment, and the person who waits. */
export type Machine = { env: Env; progress: Progress; signal?: AbortSignal }

export type UnixUser = { uid: number; gid: number }

/** Programs of this machine, and the folder of servers from Maven, that a stack is made of. */
export type Tools = {
  java: string
  postgresBin: string
  /** Whom Postgres runs as; undefined where we are not root and it runs as ourselves. */
  postgresUser: UnixUser | undefined
  redis: string
  /** PATH for the servers. */
  path: string
  /** kafka/, elasticmq/, registry/ and s3proxy/ below it. */
  servers: string
}

export type SystemTools = Omit<Tools, 'servers'>

const JAVA_MIN = 17
const POSTGRES_MIN = 15
const REDIS_MIN = 7

/** The environment of a server: nothing of ours that could change how it behaves. */
export function serverEnv(tools: Pick<Tools, 'path'>): Record<string, string> {
  return { PATH: tools.path, HOME: '/tmp', LANG: 'C.UTF-8' }
}

/** How to run a program that brings something to this machine. */
export function ownRun(machine: Machine): RunOptions & { env: Record<string, string> } {
  return { env: ownEnv(machine), ...(machine.signal && { signal: machine.signal }) }
}

/** The whole environment, for package managers: proxies and certificates live there. */
export function ownEnv({ env }: Pick<Machine, 'env'>): Record<string, string> {
  const entries = Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return { ...Object.fromEntries(entries), PATH: searchPath(env) }
}

/** PATH plus where systems keep servers and where a short PATH does not reach. */
function searchPath(env: Env): string {
  const usual = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin', '/opt/homebrew/bin']
  return [...new Set([...(env['PATH'] ?? '').split(path.delimiter), ...usual])].filter(Boolean).join(path.delimiter)
}

/** One thing the machine must have: how to find it, and what brings it. */
type Need = { what: string; find: (env: Env) => Promise<string | undefined>; apt: readonly string[]; brew: string }

const java: Need = {
  what: `Java ${JAVA_MIN} or later (runs Kafka, the schema registry, ElasticMQ and S3Proxy)`,
  find: findJava,
  apt: ['openjdk-17-jre-headless', 'openjdk-21-jre-headless', 'default-jre-headless'],
  brew: 'openjdk@17',
}
const maven: Need = {
  what: 'Maven (downloads Kafka, the schema registry, ElasticMQ and S3Proxy)',
  find: (env) => findProgram(env, ['mvn'], ['-v'], /Apache Maven (\d+)/, 3),
  apt: ['maven'],
  brew: 'maven',
}
const postgres: Need = {
  what: `Postgres ${POSTGRES_MIN} or later`,
  find: findPostgres,
  apt: ['postgresql-15', 'postgresql'],
  brew: 'postgresql@16',
}
const redis: Need = {
  what: `Redis ${REDIS_MIN} or later`,
  find: findRedis,
  // Only the tools: they hold the server's binary, and no system service comes with them.
  apt: ['redis-tools'],
  brew: 'redis',
}

/**
 * Finds what the servers need, installing with apt what is missing where that is possible.
 * @throws StackError that names everything still missing and how to install it.
 */
export async function systemTools(machine: Machine, { withMaven }: { withMaven: boolean }): Promise<SystemTools> {
  await installMissing([java, ...(withMaven ? [maven] : []), postgres, redis], machine)
  return {
    java: await required(java, machine),
    postgresBin: await required(postgres, machine),
    postgresUser: process.getuid?.() === 0 ? unprivilegedUser() : undefined,
    redis: await required(redis, machine),
    path: searchPath(machine.env),
  }
}

/** For `systemTools` with Maven to have been called before. */
export async function mavenProgram(machine: Machine): Promise<string> {
  return required(maven, machine)
}

async function required(need: Need, { env }: Machine): Promise<string> {
  const found = await need.find(env)
  if (found === undefined) throw new StackError(`${need.what} was installed but still cannot be found`)
  return found
}

async function installMissing(needs: readonly Need[], machine: Machine): Promise<void> {
  const { env, progress } = machine
  const found = await Promise.all(needs.map((need) => need.find(env)))
  const missing = needs.filter((_, i) => found[i] === undefined)
  if (missing.length === 0) return
  progress.say('This machine lacks:')
  for (const need of missing) progress.say(`  - ${need.what}`)
  await installWithApt(missing.map((need) => need.apt), machine)
  const still: Need[] = []
  for (const need of missing) if ((await need.find(env)) === undefined) still.push(need)
  if (still.length > 0) throw new StackError(howToInstall(still))
}

function howToInstall(needs: readonly Need[]): string {
  const debian = needs.map((need) => need.apt[0]).join(' ')
  return [
    'Please install, then run the command again:',
    ...needs.map((need) => `  - ${need.what}`),
    `Debian, Ubuntu:  sudo apt-get install ${debian}`,
    `macOS:           brew install ${needs.map((need) => need.brew).join(' ')}`,
    'Or start a Docker daemon: the stack then runs from docker-compose.yml and needs none of these.',
  ].join('\n')
}

/** The first of the programs that answers with at least this major version. */
async function findProgram(env: Env, candidates: readonly string[], args: readonly string[], version: RegExp, min: number): Promise<string | undefined> {
  for (const candidate of candidates) {
    const { ok, output } = await run(candidate, args, { env: ownEnv({ env }) })
    if (ok && Number(version.exec(output)?.[1]) >= min) return candidate
  }
  return undefined
}

async function findJava(env: Env): Promise<string | undefined> {
  const home = env['JAVA_HOME']
  const jvms = listDir('/usr/lib/jvm').map((name) => `/usr/lib/jvm/${name}/bin/java`)
  const brewed = ['/opt/homebrew/opt/openjdk@17/bin/java', '/opt/homebrew/opt/openjdk/bin/java']
  const candidates = [...(home ? [path.join(home, 'bin/java')] : []), 'java', ...jvms, ...brewed]
  return findProgram(env, candidates, ['-version'], /version "(\d+)/, JAVA_MIN)
}

/** The folder that holds initdb, postgres, psql and pg_isready; the newest wins. */
async function findPostgres(env: Env): Promise<string | undefined> {
  const debian = listDir('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a)).map((version) => `/usr/lib/postgresql/${version}/bin`)
  const brewed = listDir('/opt/homebrew/opt').filter((name) => name.startsWith('postgresql')).map((name) => `/opt/homebrew/opt/${name}/bin`)
  const inPath = searchPath(env).split(path.delimiter)
  const dirs = [...debian, ...brewed, ...inPath].filter((dir) => ['initdb', 'postgres', 'psql', 'pg_isready'].every((name) => existsSync(path.join(dir, name))))
  const found = await findProgram(env, dirs.map((dir) => path.join(dir, 'postgres')), ['--version'], /\) (\d+)/, POSTGRES_MIN)
  return found && path.dirname(found)
}

async function findRedis(env: Env): Promise<string | undefined> {
  const server = await findProgram(env, ['redis-server', '/opt/homebrew/opt/redis/bin/redis-server'], ['--version'], /v=(\d+)/, REDIS_MIN)
  if (server !== undefined) return server
  const cli = await findProgram(env, ['redis-cli'], ['--version'], /(\d+)\./, REDIS_MIN)
  const binary = '/usr/bin/redis-check-rdb'
  return cli !== undefined && existsSync(binary) ? binary : undefined
}

function listDir(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : []
}

/** Debian's `postgres` user where the package made one, else `nobody`. */
function unprivilegedUser(): UnixUser {
  const passwd = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':'))
  for (const name of ['postgres', 'nobody']) {
    const entry = passwd.find(([user]) => user === name)
    if (entry) return { uid: Number(entry[2]), gid: Number(entry[3]) }
  }
  throw new StackError('Postgres does not run as root, and there is neither a user "postgres" nor "nobody" to run it as')
}
