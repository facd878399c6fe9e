import type { Redis } from 'ioredis'

export type PubSub = {
  /** Once to everybody who listens at this moment. Rejects while Redis cannot be reached. */
  publish(partition: number, text: string): Promise<void>
  /** Resolves when everything that is published from then on is heard, until `onLost`. */
  subscribe(partition: number): Promise<void>
  unsubscribe(partition: number): Promise<void>
  close(): void
}

export type PubSubOptions = {
  readonly redis: Redis
  readonly keyPrefix: string
  readonly onMessage: (text: string) => void
  /** Every subscription is gone with the connection; they are not renewed by themselves. */
  readonly onLost: () => void
  readonly onRegained: () => void
}

/** One channel for each partition, `<prefix>live:<partition>`, heard by a connection of its own: Redis wants that. */
export function createPubSub({ redis, keyPrefix, onMessage, onLost, onRegained }: PubSubOptions): PubSub {
  const channelOf = (partition: number) => `${keyPrefix}live:${partition}`
  const subscriber = redis.duplicate({ autoResubscribe: false })
  let ready = false
  subscriber.on('error', () => {
    // The connection for commands tells of the same outage.
  })
  subscriber.on('ready', () => {
    ready = true
    onRegained()
  })
  subscriber.on('close', () => {
    if (ready) onLost()
    ready = false
  })
  subscriber.on('message', (_: string, text: string) => onMessage(text))
  return {
    publish: async (partition, text) => {
      await redis.publish(channelOf(partition), text)
    },
    subscribe: async (partition) => {
      await subscriber.subscribe(channelOf(partition))
    },
    unsubscribe: async (partition) => {
      await subscriber.unsubscribe(channelOf(partition))
    },
    close: () => subscriber.disconnect(),
  }
}
