import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { installWithApt } from '../../deploy/local/apt.ts'
import { pickFreePorts } from '../../deploy/local/ports.ts'
import { lineProgress } from '../../deploy/local/progress.ts'
import { run } from '../../deploy/local/run.ts'
import { type Machine, ownEnv } from '../../deploy/local/tools.ts'

/** From PyPI: serves SNS and SQS, and the fan-out between them. ElasticMQ has no SNS. */
const PACKAGE = 'roto-aws==0.10.1'
const cacheDir = fileURLToPath(new URL('../../.local/cache/', import.meta.url))
const READY_TIMEOUT_MS = 10_000

export type SnsServer = {
  readonly endpoint: string
  readonly sqs: SQSClient
  /** @returns the topic's ARN */
  createTopic(name: string): Promise<string>
  /** @returns the queue's URL */
  createQueue(name: string): Promise<string>
  subscribe(topicArn: string, queueUrl: string, attributes: Readonly<Record<string, string>>): Promise<void>
  /** @returns the SNS message's id */
  publish(topicArn: string, message: string, attributes: Readonly<Record<string, string>>): Promise<string>
  close(): Promise<void>
}

/** Starts one that keeps everything in memory; installs it first where that has not been done. */
export async function startSnsServer(): Promise<SnsServer> {
  const program = await installed({ env: process.env, progress: lineProgress((line) => console.log(`sns: ${line}`)) })
  const [port = 0] = await pickFreePorts(1)
  const child = spawn(program, ['--ephemeral', '--port', String(port)], { stdio: 'ignore', env: { PATH: process.env['PATH'] } })
  const exited = once(child, 'exit')
  const endpoint = `http://127.0.0.1:${port}`
  await untilReachable(endpoint, exited)
  const sqs = new SQSClient({ endpoint, region: 'us-east-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } })
  const call = (action: string, parameters: Record<string, string>) => callSns(endpoint, action, parameters)
  return {
    endpoint,
    sqs,
    createTopic: async (Name) => found(await call('CreateTopic', { Name }), 'TopicArn'),
    createQueue: async (QueueName) => (await sqs.send(new CreateQueueCommand({ QueueName }))).QueueUrl!,
    async subscribe(TopicArn, QueueUrl, attributes) {
      const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }))
      const entries = Object.entries(attributes).flatMap(([key, value], i) => [
        [`Attributes.entry.${i + 1}.key`, key],
        [`Attributes.entry.${i + 1}.value`, value],
      ])
      await call('Subscribe', { TopicArn, Protocol: 'sqs', Endpoint: Attributes!.QueueArn!, ...Object.fromEntries(entries) })
    },
    async publish(TopicArn, Message, attributes) {
      const entries = Object.entries(attributes).flatMap(([name, value], i) => [
        [`MessageAttributes.entry.${i + 1}.Name`, name],
        [`MessageAttributes.entry.${i + 1}.Value.DataType`, 'String'],
        [`MessageAttributes.entry.${i + 1}.Value.StringValue`, value],
      ])
      return found(await call('Publish', { TopicArn, Message, ...Object.fromEntries(entries) }), 'MessageId')
    },
    async close() {
      sqs.destroy()
      child.kill('SIGTERM')
      await exited
    },
  }
}

/** SNS's Query protocol: form in, XML out. The server reads the service's name from the credential scope, no signature. */
async function callSns(endpoint: string, action: string, parameters: Record<string, string>): Promise<string> {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: 'AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sns/aws4_request, SignedHeaders=host, Signature=0',
    },
    body: new URLSearchParams({ Action: action, Version: '2010-03-31', ...parameters }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`SNS ${action}: ${response.status} ${text}`)
  return text
}

function found(xml: string, element: string): string {
  const value = new RegExp(`<${element}>([^<]+)</${element}>`).exec(xml)?.[1]
  if (value === undefined) throw new Error(`no ${element} in ${xml}`)
  return value
}

async function untilReachable(endpoint: string, exited: Promise<unknown>): Promise<void> {
  let isGone = false
  void exited.then(() => (isGone = true))
  for (const deadlineMs = Date.now() + READY_TIMEOUT_MS; Date.now() < deadlineMs; ) {
    if (isGone) throw new Error(`${PACKAGE} has ended right after its start`)
    const isUp = await callSns(endpoint, 'ListTopics', {}).then(() => true, () => false)
    if (isUp) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${PACKAGE} did not answer at ${endpoint} within ${READY_TIMEOUT_MS} ms`)
}

/** @returns the server's program, in a virtual environment of the project's cache */
async function installed(machine: Machine): Promise<string> {
  const home = path.join(cacheDir, PACKAGE.replace('==', '-'))
  const program = path.join(home, 'bin/roto-server')
  if (existsSync(program)) return program
  // Built beside its place and moved there whole: a run that was broken off leaves nothing half done.
  const building = `${home}.${process.pid}`
  mkdirSync(cacheDir, { recursive: true })
  rmSync(building, { recursive: true, force: true })
  try {
    await createVenv(building, machine)
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', PACKAGE]
    const result = await machine.progress.step(`pip install ${PACKAGE}`, () => run(path.join(building, 'bin/python'), pip, { env: ownEnv(machine) }))
    if (!result.ok) throw new Error(`The SNS contract test needs ${PACKAGE} from PyPI, and pip could not install it:\n${result.output}`)
    if (!existsSync(program)) renameSync(building, home)
  } finally {
    rmSync(building, { recursive: true, force: true })
  }
  return program
}

async function createVenv(dir: string, machine: Machine): Promise<void> {
  const create = () => run('python3', ['-m', 'venv', dir], { env: ownEnv(machine) })
  if ((await create()).ok) return
  await installWithApt([['python3'], ['python3-venv']], machine)
  rmSync(dir, { recursive: true, force: true })
  const result = await create()
  if (result.ok) return
  throw new Error(
    [
      'The SNS contract test needs Python 3.10 or later with its venv module.',
      'Debian and Ubuntu: sudo apt install python3 python3-venv    macOS: brew install python',
      result.output.trim(),
    ].join('\n'),
  )
}
