# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A `RecorderConfig.xml` as an installation leaves it.

Element names, nesting and order as seen in public code (classes generated from a real file); several values, the XML declaration,
the encoding and the line ends are assumptions of the lab, because no complete real file is public.
"""

from __future__ import annotations

import dataclasses
from xml.sax.saxutils import escape


@dataclasses.dataclass(frozen=True)
class RecorderValues:
    """What differs between installations."""

    recorder_id: str
    name: str
    host: str  # webserver/host and webapi/publicUri: what the recorder publishes
    server_address: str
    server_url: str  # authorizationserveraddress without /IDP, for example http://127.1.2.2:8080
    client_registration_id: str
    version: str = "25.1.0.2"
    database_path: str = "D:\\MediaDatabase"
    web_server_port: int = 7563
    web_api_port: int = 9001
    server_web_api_port: int = 9000


def render(values: RecorderValues) -> bytes:
    """The document: UTF-8 with declaration, CR LF."""
    fields = {field.name: escape(str(getattr(values, field.name))) for field in dataclasses.fields(values)}
    return _TEMPLATE.format_map(fields).replace("\n", "\r\n").encode()


_TEMPLATE = """<?xml version="1.0" encoding="utf-8"?>
<recorderconfig>
  <version>{version}</version>
  <recorder>
    <id>{recorder_id}</id>
    <displayname>{name}</displayname>
    <driverspath>C:\\Program Files (x86)\\Milestone\\XProtect Recording Server\\Drivers\\</driverspath>
    <mipdriverspath>C:\\Program Files\\Milestone\\MIPDrivers</mipdriverspath>
    <pluginspath>C:\\Program Files\\Milestone\\MIPPlugins</pluginspath>
    <ruleactionspath>RuleActions</ruleactionspath>
    <storageQuotaLimit>0</storageQuotaLimit>
    <garbagecollectinterval>60</garbagecollectinterval>
    <memoryloginterval>300</memoryloginterval>
    <unmanagedmemorypressure>0</unmanagedmemorypressure>
    <threadpool minWorkerThreads="50" minCompletionPortThreads="50" />
    <hardwarestartup maxDelay="0" />
    <shutdownProcedure maxTimeToWait="60" />
    <ClientRegistrationId>{client_registration_id}</ClientRegistrationId>
    <serverEncryption enabled="false" certificateHash="" />
    <version>{version}</version>
  </recorder>
  <server>
    <address>{server_address}</address>
    <webapiport>{server_web_api_port}</webapiport>
    <authorizationserveraddress>{server_url}/IDP</authorizationserveraddress>
    <logenabled>true</logenabled>
    <logbundleinterval>5</logbundleinterval>
    <logbundlemaxcount>100</logbundlemaxcount>
    <configversioncheckinterval>60</configversioncheckinterval>
    <sendstatustoserverinterval>10</sendstatustoserverinterval>
  </server>
  <webapi>
    <port>{web_api_port}</port>
    <publicUri>{host}:{web_api_port}</publicUri>
    <timeoutfraction>2</timeoutfraction>
  </webapi>
  <pipeline>
    <gopframecountlimit>300</gopframecountlimit>
    <gopbytecountlimit>10485760</gopbytecountlimit>
    <goptimespanlimit>60</goptimespanlimit>
    <audiogoptimespan>1</audiogoptimespan>
    <metadatagoptimespan>1</metadatagoptimespan>
    <audioburstdelay>0</audioburstdelay>
    <liveThread maxStackSizeKB="256" />
    <processingThread maxStackSizeKB="256" />
    <maxframesinqueue>50</maxframesinqueue>
    <maxbytesinqueue>31457280</maxbytesinqueue>
    <maxactivetimepipeline2>120000</maxactivetimepipeline2>
  </pipeline>
  <database inprocess="true">
    <database_server>
      <logging>
        <path>C:\\ProgramData\\Milestone\\XProtect Recording Server\\Logs</path>
        <prefix>DatabaseEngine</prefix>
        <days_to_keep>10</days_to_keep>
        <max_size>100</max_size>
      </logging>
      <socket_communication>
        <port_number>5210</port_number>
        <authentication>
          <anonymous><enable>true</enable></anonymous>
          <basic><enable>false</enable><passphrase></passphrase></basic>
        </authentication>
      </socket_communication>
      <server>
        <client_shutdown_grace_period_milliseconds>5000</client_shutdown_grace_period_milliseconds>
        <client_shutdown_grace_sleep_milliseconds>100</client_shutdown_grace_sleep_milliseconds>
      </server>
      <table_split>
        <max_minutes>60</max_minutes>
        <max_size_in_mb>0</max_size_in_mb>
        <live_split_table_check_interval_seconds>300</live_split_table_check_interval_seconds>
      </table_split>
      <banks />
      <thread_pools>
        <delete_thread_pool_size>2</delete_thread_pool_size>
        <low_priority_archive_thread_pool_size>1</low_priority_archive_thread_pool_size>
        <high_priority_archive_thread_pool_size>4</high_priority_archive_thread_pool_size>
      </thread_pools>
      <disk_usage_monitor>
        <check_interval_in_seconds>60</check_interval_in_seconds>
        <force_archive_limit_in_mb>5120</force_archive_limit_in_mb>
        <force_delete_limit_in_mb>1024</force_delete_limit_in_mb>
      </disk_usage_monitor>
      <eye_candy><use_descriptive_folder_names>false</use_descriptive_folder_names></eye_candy>
      <disk_utilization>
        <max_bytes_in_block_files>16777216</max_bytes_in_block_files>
        <max_records_in_block_files>0</max_records_in_block_files>
        <truncate_block_files>true</truncate_block_files>
        <precreate_block_files>false</precreate_block_files>
        <precreate_sizes><regular>16777216</regular><sequence>65536</sequence><signature>65536</signature></precreate_sizes>
        <media_block_files><read_buffer_size>4096</read_buffer_size><write_buffer_size>4096</write_buffer_size></media_block_files>
        <sequence_block_files><read_buffer_size>4096</read_buffer_size><write_buffer_size>4096</write_buffer_size></sequence_block_files>
        <signature_block_files><read_buffer_size>4096</read_buffer_size><write_buffer_size>4096</write_buffer_size></signature_block_files>
        <index_files><read_buffer_size>4096</read_buffer_size><write_buffer_size>4096</write_buffer_size></index_files>
        <chunk_files><read_buffer_size>65536</read_buffer_size><write_buffer_size>65536</write_buffer_size></chunk_files>
      </disk_utilization>
    </database_server>
    <database_client>
      <address>localhost</address>
      <port>5210</port>
      <authentication>
        <anonymous><enable>true</enable></anonymous>
        <basic><enable>false</enable><passphrase></passphrase></basic>
      </authentication>
    </database_client>
    <database_default>
      <name>Local default</name>
      <path>{database_path}</path>
    </database_default>
    <encryption><light><bytes>4096</bytes></light></encryption>
    <event_channel><max_queue_size>10000</max_queue_size><event_timeout_ms>10000</event_timeout_ms></event_channel>
    <Failover><MaxRetentionMinutes>0</MaxRetentionMinutes><MaxSizeMb>0</MaxSizeMb></Failover>
    <Caching>
      <DiskUsageInformationBank TimeoutSeconds="60" />
      <ListFileSystemDiskUsage TimeoutSeconds="60" />
    </Caching>
    <BankAvailability>
      <CheckIntervalSeconds>30</CheckIntervalSeconds>
      <KeepFailingRecordingStorageOffline>false</KeepFailingRecordingStorageOffline>
      <AllowStartWithOfflineRecordingStorage>true</AllowStartWithOfflineRecordingStorage>
    </BankAvailability>
  </database>
  <logmanager><timerecurrence>60</timerecurrence></logmanager>
  <eventlimiter><disk_full_event>60</disk_full_event></eventlimiter>
  <webserver>
    <host>{host}</host>
    <port>{web_server_port}</port>
    <encryption enabled="false" certificateHash="" />
    <requestThread maxStackSizeKB="256" maxRequestSizeKb="1024" />
    <allowConnectIfPrivacyMaskNotSupported>false</allowConnectIfPrivacyMaskNotSupported>
    <useRelaxedTokenCheck>false</useRelaxedTokenCheck>
    <imageServerLiveThread maxStackSizeKB="256" />
  </webserver>
  <traycontroller><port>8966</port></traycontroller>
  <driverservices>
    <hosts><host>localhost</host></hosts>
    <alert><enabled>false</enabled><port>5432</port><maxsessions>10</maxsessions></alert>
    <smtp><enabled>false</enabled><port>25</port><logcommands>false</logcommands><maxsessions>10</maxsessions>\
<maxmessagesize>1048576</maxmessagesize></smtp>
  </driverservices>
  <DriverEventListener><Port>65101</Port></DriverEventListener>
  <framemediadbconsumer><framerateconstant>0.5</framerateconstant></framemediadbconsumer>
  <rules><maxruleactionexecutioncommanddelay>5000</maxruleactionexecutioncommanddelay></rules>
  <failoverserver><port>11000</port><tokenmaxsize>65536</tokenmaxsize><installedasfailoverserver>false</installedasfailoverserver>\
</failoverserver>
  <SmartSearch><UseSecondaryColumns>true</UseSecondaryColumns></SmartSearch>
  <HardwareCheck><CheckFrequence>60</CheckFrequence></HardwareCheck>
  <EdgeStorage StartupRetrieveSeconds="0" FailoverSkipRetrieveSeconds="0" MaxStackSizeKB="256" JobMinSeconds="10" \
MaxSimultaneousJobs="5" MaxJobsAcrossHardware="10" PeriodicUpdateSeconds="60" WriteFinishedJobsXmlMinutes="10" />
  <Multicast SessionLingerSeconds="5" />
  <PerformanceCounters DeviceDiskUsageIncrementIntervalInSeconds="60" MediaDBDiskUsageIncrementIntervalInSeconds="60" />
</recorderconfig>
"""
