import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { HOST, type StackConfig, StackError } from './config.ts'
import type { PortUse } from './ports.ts'
import { LocalProcess, type ProcessSpec } from './process.ts'
import type { Progress } from './progress.ts'
import { run } from './run.ts'
import { commonServiceEnv, serviceEnv, type ServiceInstance, type ServiceWorld } from './service-env.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const SETUP = 'deploy/setup/main.ts'
const STOP_DEADLINE_MS = 10_000
const READY_DEADLINE_MS = 60_000
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--enable-source-maps']

/** Variables of the caller that a service may see; no address or credential is among them. */
const PASSED_ON = [
  'PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR', 'NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS',
  // For a queue of one's own; the local one's settings overrule them.
  'AWS_REGION', 'AWS_PROFILE', 'AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN',
]

export type ServiceContext = {
  dirs: Pick<StackConfig, 'logDir' | 'runDir'>
  world: ServiceWorld
  /** The caller's environment, of which little is passed on. */
  env: Readonly<Record<string, string | undefined>>
  /** Given with --env on the command line; wins over everything. */
  extraEnv?: Record<string, string>
  progress: Progress
}

/** One process per instance, each ready by its own `/readyz`. */
export class LocalServices {
  readonly #context: ServiceContext
  readonly #instances: readonly ServiceInstance[]
  readonly #running = new Map<string, LocalProcess>()
  #stopping = false

  constructor(instances: readonly ServiceInstance[], context: ServiceContext) {
    this.#instances = instances
    this.#context = context
  }

  get processes(): ReadonlyMap<string, LocalProcess> {
    return this.#running
  }

  /** @throws StackError naming every service whose program is not there. */
  requirePrograms(): void {
    const files = new Set([SETUP, ...this.#instances.map(mainFile)])
    const missing = [...files].filter((file) => !existsSync(path.join(root, file)))
    if (missing.length > 0) throw new StackError(`These programs are missing: ${missing.join(', ')}. Only the servers: npm start -- --infra-only`)
  }

  /** Topics, schemas and tables, as `deploy/setup/main.ts` makes them; safe to run again. */
  async setUp(): Promise<void> {
    const { world, progress } = this.#context
    await progress.step('setting up topics, schemas and tables', async () => {
      const env = { ...this.#baseEnv(), ...commonServiceEnv(world), ...this.#context.extraEnv }
      const { ok, output } = await run(process.execPath, [...NODE_FLAGS, path.join(root, SETUP)], { cwd: root, env })
      if (!ok) throw new StackError(`${SETUP} failed:\n${output.trimEnd().split('\n').slice(-20).join('\n')}`)
    })
  }

  async startAll(): Promise<void> {
    const results = await Promise.allSettled(this.#instances.map(({ id }) => this.start(id)))
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    if (failures.length > 0) throw failures[0]
  }

  async start(id: string): Promise<LocalProcess> {
    const instance = this.#instances.find((one) => one.id === id)
    if (!instance) throw new StackError(`there is no service "${id}"`)
    if (this.#stopping) throw new StackError(`${id} is not started: the stack is stopping`)
    return this.#context.progress.step(id, async () => {
      const process = LocalProcess.spawn(this.#specOf(instance), this.#context.dirs)
      this.#running.set(id, process)
      try {
        await process.untilReady()
        return process
      } catch (err) {
        process.kill()
        throw err
      }
    })
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#running.values()].map((process) => process.stop()))
  }

  kill(): void {
    for (const process of this.#running.values()) process.kill()
  }

  /** The ports that must be free before a start. */
  portUses(): PortUse[] {
    return this.#instances.flatMap(({ id, env, metricsPort }) => {
      const uses: PortUse[] = [{ port: metricsPort, what: `${id}, metrics`, variable: 'ORDER_CHAT_METRICS_PORT' }]
      if (env['EDGE_PORT']) uses.push({ port: Number(env['EDGE_PORT']), what: id, variable: `ORDER_CHAT_${id.toUpperCase().replace('-', '_')}_PORT` })
      if (env['API_PORT']) uses.push({ port: Number(env['API_PORT']), what: id, variable: 'ORDER_CHAT_API_PORT' })
      return uses
    })
  }

  #specOf(instance: ServiceInstance): ProcessSpec {
    return {
      name: instance.id,
      command: process.execPath,
      args: [...NODE_FLAGS, path.join(root, mainFile(instance))],
      cwd: root,
      env: { ...this.#baseEnv(), ...serviceEnv(instance, this.#context.world), ...this.#context.extraEnv },
      stopSignal: 'SIGTERM',
      stopDeadlineMs: STOP_DEADLINE_MS,
      ready: async () => (await fetch(`http://${HOST}:${instance.metricsPort}/readyz`)).ok,
      readyDeadlineMs: READY_DEADLINE_MS,
    }
  }

  #baseEnv(): Record<string, string> {
    return Object.fromEntries(PASSED_ON.flatMap((name) => {
      const value = this.#context.env[name]
      return value === undefined ? [] : [[name, value]]
    }))
  }
}

function mainFile({ service }: ServiceInstance): string {
  return `services/${service}/main.ts`
}
