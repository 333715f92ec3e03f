import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import type { HttpParts } from './parts.ts'
import { allRoutes } from './routes.ts'

async function description(): Promise<{ paths: Record<string, Record<string, Operation>> }> {
  const route = allRoutes.find(({ path }) => path === '/api/v1/openapi.json')
  const parts = { appVersion: '0.1.0' } as HttpParts
  return (await route?.handle({ parts } as never)) as never
}

interface Operation {
  summary: string
  requestBody?: { content: Record<string, { example?: unknown }> }
  responses: Record<string, { content?: Record<string, { example?: unknown }> }>
}

test('the description of the API passes a linter', async () => {
  const rules = {
    'info-license': 'off',
    'operation-4xx-response': 'off',
    'no-server-example.com': 'off',
    'no-empty-servers': 'off',
    'security-defined': 'error',
    'operation-operationId-unique': 'error',
    'no-invalid-media-type-examples': 'error',
    'no-invalid-parameter-examples': 'error',
  } as const
  const config = await createConfig({ extends: ['recommended'], rules: { ...rules } })
  const problems = await lintFromString({ source: JSON.stringify(await description()), config })
  const lines = problems.map(({ ruleId, message, location }) => `${ruleId} at ${location[0]?.pointer}: ${message}`)
  assert.deepEqual(lines, [])
})

test('every body that the description gives as an example is one that the API takes', async () => {
  const { paths } = await description()
  let checked = 0
  for (const route of allRoutes) {
    const operation = paths[route.path]?.[route.method.toLowerCase()]
    if (operation === undefined) continue
    assert.ok(operation.summary.length > 5, route.path)
    const success = Object.values(operation.responses)[0]
    for (const media of Object.values(success?.content ?? {}))
      if (route.reply !== 'download') assert.notEqual(media.example, undefined, `${route.method} ${route.path}`)
    if (route.body === undefined) continue
    const result = route.body.safeParse(operation.requestBody?.content['application/json']?.example)
    assert.ok(result.success, `${route.method} ${route.path}: ${result.error?.message}`)
    checked++
  }
  assert.ok(checked > 15)
})
