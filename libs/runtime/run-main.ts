import type { Logger } from './logger.ts'
import { ChatError } from '#libs/domain/errors.ts'

export type RunningService = {
  /** Settles when the service has ended by itself; rejects where an error ended it. */
  readonly finished: Promise<void>
  close(): Promise<void>
}

/**
 * Runs one service until SIGTERM or SIGINT, or until it ends by itself; then closes it within the deadline.
 * Exit codes: 0 asked to stop, 1 failed, 78 (EX_CONFIG) the configuration is not valid.
 */
export async function runMain(start: () => Promise<RunningService & { logger: Logger; stopTimeoutMs: number }>): Promise<void> {
  const asked = Promise.withResolvers<string>()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => asked.resolve(signal))
  let service: Awaited<ReturnType<typeof start>>
  try {
    const started = await Promise.race([start(), asked.promise])
    // Asked to stop while it still waited for what it needs: there is nothing yet that would have to end in order.
    if (typeof started === 'string') process.exit(0)
    service = started
  } catch (err) {
    // There may be no logger yet.
    process.stderr.write(`${err instanceof ChatError ? `${err.code}: ${err.message}` : ((err as Error)?.stack ?? err)}\n`)
    process.exit(err instanceof ChatError && err.code === 'config_invalid' ? 78 : 1)
  }
  const { logger } = service
  let exitCode = 0
  const stopped = service.finished.then(
    () => 'the service has ended',
    (err: unknown) => {
      exitCode = 1
      logger.fatal({ err, code: err instanceof ChatError ? err.code : undefined }, 'the service has failed')
      return 'the service has failed'
    },
  )
  const reason = await Promise.race([asked.promise, stopped])
  logger.info({ reason }, 'stopping')
  const deadline = setTimeout(() => {
    logger.error({ stopTimeoutMs: service.stopTimeoutMs }, 'the stop took too long')
    process.exit(1)
  }, service.stopTimeoutMs)
  try {
    await service.close()
  } catch (err) {
    exitCode = 1
    logger.error({ err }, 'the stop has failed')
  }
  clearTimeout(deadline)
  logger.info({ exitCode }, 'stopped')
  process.exit(exitCode)
}
