"""The parts of the Salesforce adapter, from the settings up to the check of a mapping.

settings      what `[destinations.NAME]` may say
login         tokens: asked for, shared by the threads, renewed once
client        requests under `/services/data`, over the vendor's library on our transport
description   what the org says of its objects and fields
soql          queries that find records by a field's values
collections   up to 200 records per request, and what each answer means
finding       look-ups asked, and what it means when one is refused
matching      which record each change is for, of one object
person        the same where a record is a Contact or a Lead, also after a conversion
reading       what records hold, read back by the hundreds
comparing     whether what the service gives back is a value of ours
csv_rows      records as lines of a bulk file, and its result files as rows
jobs          what all jobs of Bulk API 2.0 have in common
ingest        the steps of a job that writes, up to its result files
bulk          a large batch as jobs, and what became of each row, in this process or a later one
bulk_query    look-ups for a large batch with one query job
checking      a mapping held against the org's own description
"""
