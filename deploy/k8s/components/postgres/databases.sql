-- The first database comes from POSTGRES_DB.
CREATE DATABASE gateway;
