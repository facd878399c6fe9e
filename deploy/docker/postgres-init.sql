-- The services' own role and database. The role is no superuser, so that what the schema
-- forbids is forbidden here too; CREATEDB lets tests make databases of their own.
SELECT 'CREATE ROLE chat LOGIN CREATEDB PASSWORD ''chat'''
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chat') \gexec
SELECT 'CREATE DATABASE chat OWNER chat'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'chat') \gexec
