import { runMain } from '#libs/runtime/run-main.ts'
import { notifierConfigFromEnv } from './config.ts'
import { startNotifier } from './service.ts'

await runMain(() => startNotifier(notifierConfigFromEnv(process.env)))
