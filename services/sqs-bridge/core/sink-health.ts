/**
 * What the bridge believes of Kafka, so that an outage costs no message one of its few receives (the queue's redrive
 * policy counts them, and would move good messages to the SQS dead-letter queue):
 *
 * - `up`: receive and publish.
 * - `down`: a publish has failed. Nothing is received; what is in hand is held; only probes go out.
 * - `trying`: a probe came back. What is in hand is published; only where nothing is in hand may a receive find out.
 *
 * Kafka may answer every probe and still take nothing (too few in-sync replicas). Then the only true probe is a message,
 * so the last one in hand is not given back: `mayGiveBack`.
 */
export type SinkHealth = {
  readonly phase: 'up' | 'down' | 'trying'
  /** Failures since the last success; they set how long the next probe waits. */
  readonly failures: number
  /** The last probe failed too. */
  readonly unreachable: boolean
}

export type SinkSignal = 'published' | 'failed' | 'probed' | 'probeFailed'

export const healthy: SinkHealth = { phase: 'up', failures: 0, unreachable: false }

export function nextHealth(health: SinkHealth, signal: SinkSignal): SinkHealth {
  switch (signal) {
    case 'published':
      return health.phase === 'up' ? health : healthy
    case 'failed':
      // All that were in one failed batch fail together: that is one failure.
      return health.phase === 'down' ? health : { ...health, phase: 'down', failures: health.failures + 1 }
    case 'probed':
      return health.phase === 'down' ? { ...health, phase: 'trying', unreachable: false } : health
    case 'probeFailed':
      return health.phase === 'down' && !health.unreachable ? { ...health, unreachable: true } : health
  }
}

export const mayPublish = (health: SinkHealth): boolean => health.phase !== 'down'

export function mayReceive(health: SinkHealth, inHand: number): boolean {
  return health.phase === 'up' || (health.phase === 'trying' && inHand === 0)
}

/**
 * Whether a message that was held for long enough may go back to the queue. Another bridge may reach the Kafka that this
 * one cannot; but a Kafka that answers and refuses refuses others too.
 */
export function mayGiveBack(health: SinkHealth, inHand: number): boolean {
  return health.unreachable || inHand > 1
}

/** How long a message that could not be dealt with stays hidden before its next try: 5 s, doubling, at most 15 min. */
export function redeliveryDelayS(receiveCount: number): number {
  return Math.min(5 * 2 ** Math.min(Math.max(receiveCount - 1, 0), 20), 900)
}
