import type { CollectionInfo } from '../archive/format.ts'
import type { CollectionSpec, Store } from './store.ts'

/** A second copy of the database, beside the live one, that a restore fills and proves before it goes live. */
export interface Staging {
  /** @throws AppError `exists` the collection was created before */
  createCollection(info: CollectionInfo): Promise<void>
  /** Appends concatenated raw documents, as they are. @throws AppError `corrupt` */
  load(collection: string, documents: Buffer): Promise<void>
  /** Builds the indexes and makes everything durable. No load after it. */
  finish(): Promise<void>
  /** The staged copy as a store. The caller closes it. */
  open(): Promise<Store>
}

/** What restore, undo and drill ask of an engine. Nothing here runs while a service uses the live database. */
export interface StoreExchange {
  /** Starts an empty staged copy, removing what an interrupted run left. */
  stage(id: string, collections: readonly CollectionSpec[]): Promise<Staging>
  /**
   * Makes the staged copy live and keeps the present as the previous one of this id. May be called again after a crash at any point:
   * it goes on where it was.
   */
  cutOver(id: string): Promise<void>
  /** Whether the previous copy of this id is there. */
  canGoBack(id: string): Promise<boolean>
  /** Makes the previous copy of this id live again; may be called again after a crash. @throws AppError `not-found` it is not there any more */
  goBack(id: string): Promise<void>
  /** Removes the staged copy of this id, if there is one. */
  discard(id: string): Promise<void>
  /** Removes what cut-over and way back of this id have kept. */
  forget(id: string): Promise<void>
}
