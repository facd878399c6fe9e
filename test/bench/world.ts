import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { loadOrCreateDevKey } from '#libs/auth/dev-key.ts'
import { endpointsOf, HOST, kafkaNodes, type StackConfig, type StackEndpoints } from '../../deploy/local/config.ts'
import { dataDirs, LocalInfra } from '../../deploy/local/infra.ts'
import { startKeeper } from '../../deploy/local/keeper.ts'
import { pickFreePorts } from '../../deploy/local/ports.ts'
import { LocalProcess } from '../../deploy/local/process.ts'
import { quietProgress } from '../../deploy/local/progress.ts'
import type { Pids } from './procfs.ts'

export const root = fileURLToPath(new URL('../../', import.meta.url))
export const benchDir = path.join(root, '.local/bench')

type Dirs = Pick<StackConfig, 'logDir' | 'runDir'>

/** The servers that every system here shares, and a folder for one run of the benchmark. */
export class World {
  readonly dirs: Dirs
  readonly endpoints: StackEndpoints
  readonly devKeyFile: string
  readonly #infra: LocalInfra | undefined
  readonly #dir: string

  private constructor(dirs: Dirs, endpoints: StackEndpoints, dir: string, infra?: LocalInfra) {
    this.dirs = dirs
    this.endpoints = endpoints
    this.devKeyFile = path.join(dir, 'dev-key.json')
    this.#infra = infra
    this.#dir = dir
  }

  /** On servers that are somebody else's: nothing can be said about what they cost. */
  static async on(endpoints: StackEndpoints, name: string): Promise<World> {
    const dir = path.join(benchDir, `${name}-${process.pid}`)
    const dirs = { logDir: path.join(dir, 'logs'), runDir: path.join(dir, 'run') }
    mkdirSync(dirs.runDir, { recursive: true })
    startKeeper('discard', dirs.runDir, [dir])
    const world = new World(dirs, endpoints, dir)
    await loadOrCreateDevKey(world.devKeyFile)
    return world
  }

  /** With servers of its own, on ports of their own. */  static async start(signal: AbortSignal): Promise<World> {
    const dir = path.join(benchDir, `stack-${process.pid}`)
    const [registryPort = 0, postgresPort = 0, redisPort = 0, sqsPort = 0, s3Port = 0, kafkaPort = 0, controllerPort = 0] = await pickFreePorts(7)
    const config: StackConfig = {
      cacheDir: path.join(root, '.local/cache'),
      // Its data is deleted, but its speed is what is measured.
      throwAway: false,
      dataDir: path.join(dir, 'data'),
      logDir: path.join(dir, 'logs'),
      runDir: path.join(dir, 'run'),
      kafka: kafkaNodes(1, () => kafkaPort, () => controllerPort),
      registryPort,
      postgresPort,
      redisPort,
      sqsPort,
      s3Port,
    }
    mkdirSync(config.runDir, { recursive: true })
    startKeeper('discard', config.runDir, [dir, ...dataDirs(config)])
    const infra = await LocalInfra.start(config, { env: process.env, progress: quietProgress, signal })
    const world = new World(config, endpointsOf(config), dir, infra)
    await loadOrCreateDevKey(world.devKeyFile)
    return world
  }

  /** Of those of the servers that are ours, by name. */
  pids(...names: readonly string[]): Pids {
    return new Map(names.flatMap((name) => {
      const pid = this.#infra?.processes.get(name === 'kafka' ? 'kafka-1' : name)?.pid
      return pid === undefined ? [] : [[name, pid] as const]
    }))
  }

  /** A program of ours under Node, ready once it answers on its port. */
  async startPeer(name: string, program: string, port: number, env: Readonly<Record<string, string>>): Promise<LocalProcess> {
    const { PATH = '', HOME = '' } = process.env
    const peer = LocalProcess.spawn(
      {
        name,
        command: process.execPath,
        args: ['--disable-warning=ExperimentalWarning', path.join(root, 'test/bench/peers', program)],
        cwd: root,
        env: { PATH, HOME, PORT: String(port), ...env },
        stopSignal: 'SIGTERM',
        stopDeadlineMs: 3_000,
        ready: async () => (await fetch(`http://${HOST}:${port}/ready`)).ok,
        readyDeadlineMs: 30_000,
      },
      this.dirs,
    )
    await peer.untilReady()
    return peer
  }

  /** A database of its own in the shared Postgres. */
  async createDatabase(name: string): Promise<string> {
    await withPostgres(this.endpoints.postgresAdminUrl, (client) => client.query(`CREATE DATABASE ${name} OWNER chat`))
    const url = new URL(this.endpoints.postgresUrl)
    url.pathname = `/${name}`
    return url.href
  }

  async discard(): Promise<void> {
    await this.#infra?.discard()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

export async function withPostgres<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
