import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs'
import { localAws, notificationsQueue } from '../service-env.ts'

/** docs/notifications.md has all of it. */
export type Push = { readonly type: 'notification' | 'cleared'; readonly userId: string; readonly roomId: string; readonly count: number; readonly badge: number }

/** What a push service of one's own would do: takes what is in the local queue. */
export async function takePushes(sqsEndpoint: string): Promise<readonly Push[]> {
  const { AWS_REGION: region, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = localAws
  const client = new SQSClient({ endpoint: sqsEndpoint, region, credentials: { accessKeyId, secretAccessKey } })
  try {
    const QueueUrl = notificationsQueue(sqsEndpoint)
    const { Messages = [] } = await client.send(new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }))
    for (const { ReceiptHandle } of Messages) await client.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }))
    return Messages.map(({ Body }) => JSON.parse(Body ?? '{}') as Push)
  } finally {
    client.destroy()
  }
}
