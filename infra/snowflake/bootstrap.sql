-- An account administrator runs this once, before the first deployment. {snowddl_public_key}: the body of a public key.
-- {snowddl_addresses}: the addresses from which SnowDDL is run, in quotes.
USE ROLE ACCOUNTADMIN;

-- With ACCOUNTADMIN, because only it creates resource monitors. SnowDDL changes only objects that this role owns.
CREATE ROLE SNOWDDL_ADMIN;
GRANT ROLE ACCOUNTADMIN TO ROLE SNOWDDL_ADMIN;
CREATE USER SNOWDDL TYPE = SERVICE DEFAULT_ROLE = SNOWDDL_ADMIN RSA_PUBLIC_KEY = '{snowddl_public_key}';
GRANT ROLE SNOWDDL_ADMIN TO USER SNOWDDL;
CREATE NETWORK POLICY SNOWDDL ALLOWED_IP_LIST = ({snowddl_addresses});
ALTER USER SNOWDDL SET NETWORK_POLICY = SNOWDDL;

-- For people: the role above both. Otherwise nobody who signs in would see what SnowDDL owns.
CREATE ROLE ADMINISTRATOR;
GRANT ROLE SNOWDDL_ADMIN TO ROLE ADMINISTRATOR;

-- SnowDDL creates users' roles after the business roles, but grants this one to two business roles.
CREATE ROLE CI__U_ROLE;
GRANT ROLE CI__U_ROLE TO ROLE SNOWDDL_ADMIN;
GRANT OWNERSHIP ON ROLE CI__U_ROLE TO ROLE SNOWDDL_ADMIN COPY CURRENT GRANTS;
