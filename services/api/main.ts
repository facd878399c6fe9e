import { runMain } from '#libs/runtime/run-main.ts'
import { apiConfigFromEnv } from './config.ts'
import { startApi } from './service.ts'

await runMain(() => startApi(apiConfigFromEnv(process.env)))
