import { type Logger, pino } from 'pino'

export type { Logger }

/** JSON lines on stdout. Tokens never get into a log: they are cut out where a field could carry one. */
export function createLogger(service: string, instanceId: string, level: string): Logger {
  return pino({
    level,
    base: { service, instance: instanceId },
    redact: { paths: ['token', '*.token', 'authorization', '*.authorization', 'headers.authorization'], censor: '[cut]' },
    formatters: { level: (label) => ({ level: label }) },
    timestamp: pino.stdTimeFunctions.isoTime,
  })
}
