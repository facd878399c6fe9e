import { newId } from './clock.ts'
import { type Env, envInt, envOneOf, envText } from './env.ts'

/** What every service has. */
export type ServiceConfig = {
  readonly instanceId: string
  readonly logLevel: string
  readonly metricsHost: string
  /** 0 picks a free port. */
  readonly metricsPort: number
  /** A stop that takes longer ends the process with exit code 1. */
  readonly stopTimeoutMs: number
}

export function serviceConfigFromEnv(env: Env, service: string): ServiceConfig {
  return {
    instanceId: envText(env, 'INSTANCE_ID', `${service}-${newId().slice(0, 8)}`),
    logLevel: envOneOf(env, 'LOG_LEVEL', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], 'info'),
    metricsHost: envText(env, 'METRICS_HOST', '127.0.0.1'),
    metricsPort: envInt(env, 'METRICS_PORT', 0, { max: 65_535 }),
    stopTimeoutMs: envInt(env, 'STOP_TIMEOUT_MS', 10_000),
  }
}
