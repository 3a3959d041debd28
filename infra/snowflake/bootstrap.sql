-- Once, by an account administrator, before the first deployment. {snowddl_public_key} is the body of a public key.
USE ROLE ACCOUNTADMIN;

-- With ACCOUNTADMIN, because only it makes resource monitors. SnowDDL touches nothing that this role doesn't own.
CREATE ROLE SNOWDDL_ADMIN;
GRANT ROLE ACCOUNTADMIN TO ROLE SNOWDDL_ADMIN;
CREATE USER SNOWDDL TYPE = SERVICE DEFAULT_ROLE = SNOWDDL_ADMIN RSA_PUBLIC_KEY = '{snowddl_public_key}';
GRANT ROLE SNOWDDL_ADMIN TO USER SNOWDDL;

-- SnowDDL makes a user's role after the business roles, and two of those are granted this one.
CREATE ROLE CI__U_ROLE;
GRANT ROLE CI__U_ROLE TO ROLE SNOWDDL_ADMIN;
GRANT OWNERSHIP ON ROLE CI__U_ROLE TO ROLE SNOWDDL_ADMIN COPY CURRENT GRANTS;
